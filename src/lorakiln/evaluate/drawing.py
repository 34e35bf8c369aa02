"""Draw what the plan asks for, each different picture once, and never what is there already: in the last report, or
from a drawing that was stopped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

import torch
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.artefacts.partial_results import PartialResults, link_or_copy
from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch, is_tight, telling_no_memory
from lorakiln.console.progress import show_progress
from lorakiln.evaluate.shots import Shot
from lorakiln.families import load_family
from lorakiln.families.file_hashes import compute_short_hash as base_hash
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Family, choose_drawing_dtype
from lorakiln.lora_files.applying import AppliedAdapters, read_applicable
from lorakiln.lora_files.embeddings import compute_embedding_short_hash, is_embedding, read_embeddings
from lorakiln.lora_files.identity import compute_lora_short_hash as lora_hash
from lorakiln.sampling import Applied, DrawJob, draw, follow_noise_schedule, format_infotext, save_picture
from lorakiln.sampling.prompt_cache import PromptCache
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings

ON_CPU = "draw on the CPU (evaluate.device=cpu)"


class ShotDrawer:
    """Draws shots with one base model, one LoRA file and the words that belong to it; loads them when there is
    something to draw.
    """

    def __init__(
        self,
        lora: Path,
        settings: EvaluateSettings,
        model: ModelSettings,
        device: torch.device,
        encoding: PromptEncoding,
        zero_terminal_snr: bool = False,
        words: Sequence[Path] = (),
    ) -> None:
        self.lora, self.settings, self.model = lora, settings, model
        self.device, self.encoding, self.zero_terminal_snr = device, encoding, zero_terminal_snr
        # Read now: the file may be gone when the pictures are drawn.
        self.words = words
        self.embeds = is_embedding(lora)
        self.lora_hash = compute_embedding_short_hash(lora) if self.embeds else lora_hash(lora)

    @cached_property
    def base_hash(self) -> str:
        return base_hash(self.model.path, load_family(self.model, ()).facts["hash"])

    def fill(self, shots: Sequence[Shot], folder: Path, old: Path, kept: PartialResults) -> int:
        """Write every shot's file below `folder`; return how many pictures were drawn.

        Args:
            old: the samples of the report before; what has the same key is taken from there.
            kept: what an earlier call had drawn when it was stopped; takes each picture as it is drawn.
        """
        wanted = {shot.key: shot for shot in shots}
        there = {key: path for key, path in (list_drawn_pictures(old) | kept.files()).items() if key in wanted}
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
        settings = self.settings
        with telling_no_memory("evaluate: loading the base model", ON_CPU):
            family = load_family(
                self.model, device=self.device, dtype=choose_drawing_dtype(self.device, settings.precision)
            )
            follow_noise_schedule(family, self.zero_terminal_snr, self.lora)
            if is_tight(self.device):
                family.rest()
            merged = load_adapter(family, self.lora, self.words)
        remembering = PromptCache(family)
        advice = f"draw smaller pictures (evaluate.width, evaluate.height), or {ON_CPU}"
        batch = Batch(settings.batch_size, "drawing", "evaluate.batch_size", advice)
        with show_progress("drawing", len(shots)) as bar:
            for weight, group in groupby(sorted(shots, key=lambda s: s.weight), key=lambda s: s.weight):
                with telling_no_memory("evaluate: putting the LoRA on", ON_CPU):
                    merged.set_weights(weight)
                remembering.forget()
                some = list(group)
                jobs = [self._job(shot) for shot in some]
                images = draw(
                    remembering,
                    jobs,
                    settings.steps,
                    settings.guidance,
                    settings.negative_prompt,
                    batch,
                    self.encoding,
                    done=bar.advance,
                )
                yield from zip(some, images, strict=True)

    def _save(self, image: Image.Image, shot: Shot, path: Path) -> None:
        settings = self.settings
        used = [Applied(self.lora.stem, shot.weight, self.lora_hash)] if shot.weight else []
        text = format_infotext(
            self._job(shot),
            settings.steps,
            settings.guidance,
            settings.negative_prompt,
            Path(self.model.path).name,
            [] if self.embeds else used,
            self.encoding.clip_skip,
            self.base_hash,
            {one.name: one.hash for one in used} if self.embeds else {},
        )
        save_picture(image, path, text)

    def _job(self, shot: Shot) -> DrawJob:
        return DrawJob(shot.text, shot.seed, shot.width, shot.height)


def load_adapter(family: Family, lora: Path, words: Sequence[Path] = ()) -> AppliedAdapters:
    """The family with what a LoRA's or an embedding's file brings, to be set to a weight.

    Args:
        words: files of embeddings that belong to it.

    Raises:
        UserError: it is neither, or one for another base model.
    """
    adapter = read_applicable(lora)
    own = {word: one for path in words for word, one in read_embeddings(path).items()}
    return AppliedAdapters(family, replace(adapter, embeddings={**adapter.embeddings, **own}))


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
