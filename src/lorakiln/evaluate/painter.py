"""The base model with one LoRA or another on it, drawing shots: in this process, or in several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lorakiln.console.memory import Batch, explaining_no_memory, is_tight
from lorakiln.evaluate.shots import Shot
from lorakiln.families import load_family
from lorakiln.families.cpu_threads import choosing_threads
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Family, choose_drawing_dtype
from lorakiln.lora_files.applying import AppliedAdapters, read_applicable
from lorakiln.lora_files.embeddings import read_embeddings
from lorakiln.lora_files.merging import check_fits
from lorakiln.sampling import DrawJob, draw, follow_noise_schedule
from lorakiln.sampling.prompt_cache import PromptCache
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings

ON_CPU = "draw on the CPU (evaluate.device=cpu)"


@dataclass
class _Loaded:
    family: PromptCache
    batch: Batch
    name: str
    applied: AppliedAdapters
    weight: float | None = None


class Painter:
    """Draws shots with one base model, LoRA files, one at a time, and the words that belong to them.

    They are loaded when there is something to draw. Pickled, it goes without them: another process loads its own.

    Args:
        loras: a LoRA's or an embedding's file by the name that shots call it (`Shot.adapter`).
        zero_terminal_snr: whether they were trained with a noise schedule that ends without signal.
        words: files of embeddings that belong to them.
    """

    def __init__(
        self,
        loras: Mapping[str, Path],
        settings: EvaluateSettings,
        model: ModelSettings,
        device: torch.device,
        encoding: PromptEncoding,
        zero_terminal_snr: bool = False,
        words: Sequence[Path] = (),
    ) -> None:
        self.loras, self.settings, self.model = dict(loras), settings, model
        self.device, self.encoding, self.zero_terminal_snr = device, encoding, zero_terminal_snr
        self.words = words

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_loaded"}

    def __call__(self, shots: Sequence[Shot]) -> list[Image.Image]:
        """The pictures of shots of one LoRA and weight, RGB, in their order."""
        return list(self.paint(shots))

    def paint(self, shots: Sequence[Shot], done: Callable[[int], object] = lambda count: None) -> Iterator[Image.Image]:
        """The same, each as it is drawn.

        Args:
            done: see `draw`.
        """
        loaded, settings = self._loaded, self.settings
        ((name, weight),) = {(shot.adapter, shot.weight) for shot in shots}
        if weight != loaded.weight or (weight and name != loaded.name):
            with explaining_no_memory("drawing: putting the LoRA on", ON_CPU):
                self._put_on(loaded, name, weight)
            loaded.family.forget()
        with choosing_threads(loaded.family):
            yield from draw(
                loaded.family,
                [make_job(shot) for shot in shots],
                settings.steps,
                settings.guidance,
                settings.negative_prompt,
                loaded.batch,
                self.encoding,
                done=done,
            )

    def _put_on(self, loaded: _Loaded, name: str, weight: float) -> None:
        """Let the base draw with the LoRA of that name at `weight`; at 0 without any, whichever it is."""
        loaded.weight = None  # until it is whole: what raises may leave a part of it
        if weight and name != loaded.name:
            loaded.applied.set_weights(0.0)
            loaded.applied = load_adapter(loaded.family, self.loras[name], self.words)
            loaded.name = name
        loaded.applied.set_weights(weight)
        loaded.weight = weight

    @cached_property
    def _loaded(self) -> _Loaded:
        settings = self.settings
        with explaining_no_memory("evaluate: loading the base model", ON_CPU):
            family = load_family(
                self.model, device=self.device, dtype=choose_drawing_dtype(self.device, settings.precision)
            )
            name, lora = next(iter(self.loras.items()))
            follow_noise_schedule(family, self.zero_terminal_snr, lora)
            if is_tight(self.device):
                family.rest()
            applied = load_adapter(family, lora, self.words)
        advice = f"draw smaller pictures (evaluate.width, evaluate.height), or {ON_CPU}"
        return _Loaded(
            PromptCache(family), Batch(settings.batch_size, "drawing", "evaluate.batch_size", advice), name, applied
        )


def make_job(shot: Shot) -> DrawJob:
    return DrawJob(shot.text, shot.seed, shot.width, shot.height)


def load_adapter(family: Family, lora: Path, words: Sequence[Path] = ()) -> AppliedAdapters:
    """The family with what a LoRA's or an embedding's file brings, to be set to a weight.

    Args:
        words: files of embeddings that belong to it.

    Raises:
        UserError: it is neither, or one for another base model.
    """
    adapter = read_applicable(lora)
    check_fits(family.adaptable(), adapter, lora)
    own = {word: one for path in words for word, one in read_embeddings(path).items()}
    return AppliedAdapters(family, replace(adapter, embeddings={**adapter.embeddings, **own}))
