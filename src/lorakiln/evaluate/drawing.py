"""Draw what the plan asks for, each different picture once, and never what is there already: in the last report, or
from a drawing that was stopped.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.artefacts.partial_results import PartialResults, link_or_copy
from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.console.process_pool import count_workers, map_in_order
from lorakiln.console.progress import show_progress
from lorakiln.evaluate.painter import Painter, make_job
from lorakiln.evaluate.shots import Shot
from lorakiln.families import load_family
from lorakiln.families.cpu_threads import is_small
from lorakiln.families.file_hashes import compute_short_hash as base_hash
from lorakiln.lora_files.embeddings import compute_embedding_short_hash, is_embedding
from lorakiln.lora_files.identity import compute_lora_short_hash as lora_hash
from lorakiln.sampling import Applied, format_infotext, save_picture

WORTH = 64  # small pictures: starting a process, which loads the libraries and the base, takes about half as long


@dataclass(frozen=True)
class _Used:
    """A LoRA's or an embedding's file, as infotexts tell it."""

    name: str
    embeds: bool
    hash: str

    @classmethod
    def read(cls, path: Path) -> "_Used":
        embeds = is_embedding(path)
        return cls(path.stem, embeds, compute_embedding_short_hash(path) if embeds else lora_hash(path))


class ShotDrawer:
    """Draws shots with a painter, and writes each with what it was drawn from."""

    def __init__(self, painter: Painter) -> None:
        self.painter, self.settings, self.model = painter, painter.settings, painter.model
        # Read now: a file may be gone when the pictures are drawn.
        self.used = {name: _Used.read(path) for name, path in painter.loras.items()}

    @cached_property
    def base_hash(self) -> str:
        return base_hash(self.model.path, load_family(self.model, ()).facts["hash"])

    def fill(self, shots: Sequence[Shot], folder: Path, old: Sequence[Path], kept: PartialResults) -> int:
        """Write every shot's file below `folder`; return how many pictures were drawn.

        Args:
            old: folders of samples, such as the report's before; what has the same key is taken from there.
            kept: what an earlier call had drawn when it was stopped; takes each picture as it is drawn.
        """
        wanted = {shot.key: shot for shot in shots}
        earlier = {key: path for samples in old for key, path in list_drawn_pictures(samples).items()}
        there = {key: path for key, path in (earlier | kept.files()).items() if key in wanted}
        made = {key: path for key, path in there.items() if is_whole(path)}
        missing = [shot for key, shot in wanted.items() if key not in made]
        written = set()
        if missing:
            for shot, image in self._draw(missing):
                path = kept.add(shot.key, partial(self._save, image, shot))
                link_or_copy(path, folder / shot.file_name)
                made[shot.key] = folder / shot.file_name
                written.add(shot.file_name)
        for shot in shots:
            if shot.file_name not in written:
                self._save(read_picture(made[shot.key]), shot, folder / shot.file_name)
        return len(missing)

    def _draw(self, shots: Sequence[Shot]) -> Iterator[tuple[Shot, Image.Image]]:
        ordered = sorted(shots, key=_applied)
        workers = self._count_workers(len(shots))
        with show_progress("drawing", len(shots)) as bar:
            if workers == 1:
                for _, group in groupby(ordered, key=_applied):
                    some = list(group)
                    yield from zip(some, self.painter.paint(some, bar.advance), strict=True)
                return
            # The batches that one process would draw: the bits of a picture depend on its batch's shape.
            batches = list(split_batches(ordered, self.settings.batch_size))
            for batch, images in zip(
                batches, map_in_order(self.painter, batches, workers, _explain_killed), strict=True
            ):
                bar.advance(len(batch))
                yield from zip(batch, images, strict=True)

    def _count_workers(self, shots: int) -> int:
        """Processes that draw: one for a GPU, and for a base that uses all cores by itself."""
        if self.painter.device.type != "cpu" or not is_small(load_family(self.model, ())):
            return 1
        return count_workers(self.settings.workers, shots, WORTH)

    def _save(self, image: Image.Image, shot: Shot, path: Path) -> None:
        settings = self.settings
        file = self.used[shot.adapter] if shot.weight else None
        used = [Applied(file.name, shot.weight, file.hash)] if file else []
        embeds = file is not None and file.embeds
        text = format_infotext(
            make_job(shot),
            settings.steps,
            settings.guidance,
            settings.negative_prompt,
            Path(self.model.path).name,
            [] if embeds else used,
            self.painter.encoding.clip_skip,
            self.base_hash,
            {one.name: one.hash for one in used} if embeds else {},
        )
        save_picture(image, path, text)


def _applied(shot: Shot) -> tuple[str, float]:
    """Which LoRA draws it, and at which weight; all of weight 0 together."""
    return (shot.adapter if shot.weight else ""), shot.weight


def split_batches(shots: Iterable[Shot], size: int) -> Iterator[list[Shot]]:
    """As `draw` takes them: of one LoRA, one weight and one size, in their order, at most so many at once."""
    for _, group in groupby(shots, key=lambda shot: (*_applied(shot), shot.width, shot.height)):
        alike = list(group)
        yield from (alike[start : start + size] for start in range(0, len(alike), size))


def _explain_killed(batches: Sequence[Sequence[Shot]]) -> UserError:
    return UserError(
        "a process that drew pictures was killed",
        where="evaluate.workers",
        fix="out of memory, most likely: set evaluate.workers=1; what is drawn is kept",
    )


def list_drawn_pictures(samples: Path) -> dict[str, Path]:
    """The pictures of an earlier report by their key; empty if there is none."""
    rows = samples / "metadata.jsonl"
    if not rows.exists():
        return {}
    return {row["key"]: samples / row["file_name"] for row in read_jsonl(rows)}


def is_whole(path: Path) -> bool:
    """Whether a picture that was drawn is there and can be read to its end; a power cut may have cut it off."""
    try:
        read_picture(path)
    except (OSError, UserError):
        return False
    return True
