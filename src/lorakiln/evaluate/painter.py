"""The base model with a LoRA on it, drawing shots: in this process, or in several."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lorakiln.console.memory import Batch, is_tight, telling_no_memory
from lorakiln.evaluate.shots import Shot
from lorakiln.families import load_family
from lorakiln.families.cpu_threads import choosing_threads
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Family, choose_drawing_dtype
from lorakiln.lora_files.applying import AppliedAdapters, read_applicable
from lorakiln.lora_files.embeddings import read_embeddings
from lorakiln.sampling import DrawJob, draw, follow_noise_schedule
from lorakiln.sampling.prompt_cache import PromptCache
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings

ON_CPU = "draw on the CPU (evaluate.device=cpu)"


@dataclass
class _Loaded:
    family: PromptCache
    applied: AppliedAdapters
    batch: Batch
    weight: float | None = None


class Painter:
    """Draws shots with one base model, one LoRA file and the words that belong to it.

    They are loaded when there is something to draw. Pickled, it goes without them: another process loads its own.

    Args:
        lora: a LoRA's or an embedding's file.
        zero_terminal_snr: whether it was trained with a noise schedule that ends without signal.
        words: files of embeddings that belong to it.
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
        self.words = words

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_loaded"}

    def __call__(self, shots: Sequence[Shot]) -> list[Image.Image]:
        """The pictures of shots of one weight, RGB, in their order."""
        return list(self.paint(shots))

    def paint(self, shots: Sequence[Shot], done: Callable[[int], object] = lambda count: None) -> Iterator[Image.Image]:
        """The same, each as it is drawn.

        Args:
            done: see `draw`.
        """
        loaded, settings = self._loaded, self.settings
        (weight,) = {shot.weight for shot in shots}
        if weight != loaded.weight:
            with telling_no_memory("evaluate: putting the LoRA on", ON_CPU):
                loaded.applied.set_weights(weight)
            loaded.family.forget()
            loaded.weight = weight
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

    @cached_property
    def _loaded(self) -> _Loaded:
        settings = self.settings
        with telling_no_memory("evaluate: loading the base model", ON_CPU):
            family = load_family(
                self.model, device=self.device, dtype=choose_drawing_dtype(self.device, settings.precision)
            )
            follow_noise_schedule(family, self.zero_terminal_snr, self.lora)
            if is_tight(self.device):
                family.rest()
            applied = load_adapter(family, self.lora, self.words)
        advice = f"draw smaller pictures (evaluate.width, evaluate.height), or {ON_CPU}"
        return _Loaded(
            PromptCache(family), applied, Batch(settings.batch_size, "drawing", "evaluate.batch_size", advice)
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
    own = {word: one for path in words for word, one in read_embeddings(path).items()}
    return AppliedAdapters(family, replace(adapter, embeddings={**adapter.embeddings, **own}))
