"""Draw what the plan asks for, each different picture once, and never what the last report already holds."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lorakiln.artefacts.records import read_jsonl
from lorakiln.console.memory import Batch, is_tight
from lorakiln.console.progress import progress
from lorakiln.evaluate.plan import Shot
from lorakiln.families import load_family
from lorakiln.families.family import Family, drawing_dtype
from lorakiln.families.reading import PLAIN, Reading
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_any
from lorakiln.sampling import Job, draw, infotext, save_picture
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings


class Studio:
    """Draws shots with one base model and one LoRA file; loads them when there is something to draw."""

    def __init__(
        self,
        lora: Path,
        settings: EvaluateSettings,
        model: ModelSettings,
        device: torch.device,
        reading: Reading,
    ) -> None:
        self.lora, self.settings, self.model = lora, settings, model
        self.device, self.reading = device, reading

    def fill(self, shots: Sequence[Shot], folder: Path, old: Path) -> int:
        """Write every shot's file below `folder`; return how many pictures were drawn.

        Args:
            old: the samples of the report before; what has the same key is taken from there.
        """
        made = pictures_by_key(old)
        missing = list({shot.key: shot for shot in shots if shot.key not in made}.values())
        if missing:
            for shot, image in self._draw(missing):
                self._save(image, shot, folder)
                made[shot.key] = folder / shot.file_name
        for shot in shots:
            target = folder / shot.file_name
            if made[shot.key] != target:
                with Image.open(made[shot.key]) as image:
                    self._save(image.convert("RGB"), shot, folder)
        return len(missing)

    def _draw(self, shots: Sequence[Shot]) -> Iterator[tuple[Shot, Image.Image]]:
        family = load_family(self.model, device=self.device, dtype=drawing_dtype(self.device, self.settings.precision))
        if is_tight(self.device):
            family.rest()
        merged = put_on(family, self.lora)
        remembering = Remembering(family)
        settings = self.settings
        advice = "draw smaller pictures (evaluate.width, evaluate.height), or on the CPU (evaluate.device=cpu)"
        batch = Batch(settings.batch_size, "drawing", "evaluate.batch_size", advice)
        with progress("drawing", len(shots)) as bar:
            for weight, group in groupby(sorted(shots, key=lambda s: s.weight), key=lambda s: s.weight):
                merged.set_weights(weight)
                remembering.forget()
                some = list(group)
                jobs = [self._job(shot) for shot in some]
                images = draw(
                    remembering, jobs, settings.steps, settings.guidance, settings.negative_prompt,
                    batch, self.reading,
                )  # fmt: skip
                for shot, image in zip(some, images, strict=True):
                    yield shot, image
                    bar.advance()

    def _save(self, image: Image.Image, shot: Shot, folder: Path) -> None:
        settings = self.settings
        text = infotext(
            self._job(shot), settings.steps, settings.guidance, settings.negative_prompt, Path(self.model.path).name,
            [(self.lora.stem, shot.weight)] if shot.weight else [], self.reading.clip_skip,
        )  # fmt: skip
        save_picture(image, folder / shot.file_name, text)

    def _job(self, shot: Shot) -> Job:
        return Job(shot.text, shot.seed, shot.width, shot.height)


class Remembering:
    """A family that encodes each prompt once, alone, so that its bits do not depend on what is drawn with it."""

    def __init__(self, family: Family) -> None:
        self._family, self._known = family, {}

    def forget(self) -> None:
        """The text encoder has changed."""
        self._known.clear()

    def encode_prompts(self, prompts: Sequence[str], reading: Reading = PLAIN) -> dict[str, torch.Tensor]:
        if new := [prompt for prompt in dict.fromkeys(prompts) if (prompt, reading) not in self._known]:
            with self._family.present("text"):
                for prompt in new:
                    self._known[prompt, reading] = self._family.encode_prompts([prompt], reading)
        found = [self._known[prompt, reading] for prompt in prompts]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)


def put_on(family: Family, lora: Path) -> Merged:
    """The family's networks with the LoRA of a file, to be set to a weight.

    Raises:
        UserError: it is no LoRA file, or one for another base model.
    """
    return Merged(family.adaptable(), read_any(lora).adapter)


def pictures_by_key(samples: Path) -> dict[str, Path]:
    """The pictures of an earlier report by their key; empty if there is none."""
    rows = samples / "metadata.jsonl"
    if not rows.exists():
        return {}
    return {row["key"]: samples / row["file_name"] for row in read_jsonl(rows)}
