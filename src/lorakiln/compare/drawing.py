"""What is drawn for a comparison: the base and every file, from the same prompts and seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.compare.entrants import Entrant
from lorakiln.evaluate.drawing import ShotDrawer
from lorakiln.evaluate.drawing_key import PIXEL, describe_pictures
from lorakiln.evaluate.painter import Painter
from lorakiln.evaluate.shots import compute_shot_key, make_prompts
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.metrics import Prompt, Shot
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings


@dataclass(frozen=True)
class Plan:
    """All shots.

    Attributes:
        prompts: of the base, with the settings' trigger words.
        size: of every picture, width and height in pixels.
        base: the base's shots.
        of: each entrant's, by its place, with its own trigger words; of the same prompts and seeds.
    """

    prompts: list[Prompt]
    seeds: list[int]
    size: tuple[int, int]
    base: list[Shot]
    of: list[list[Shot]]

    @property
    def shots(self) -> list[Shot]:
        return [*self.base, *(shot for shots in self.of for shot in shots)]

    @property
    def bytes(self) -> int:
        """What the pictures take, before a PNG makes them fewer."""
        return len(self.shots) * self.size[0] * self.size[1] * PIXEL


def plan_shots(
    entrants: Sequence[Entrant],
    evaluate: EvaluateSettings,
    model: ModelSettings,
    trigger: str,
    encoding: PromptEncoding,
    device: torch.device,
) -> Plan:
    """Lay out the pictures: every prompt with its trigger words and, for the bleed, the grids' prompts without.

    Args:
        evaluate: already reduced.
        trigger: what the base's prompts have in the place of it.

    Raises:
        UserError: see `evaluate.drawing_checks.check_drawing`.
    """
    size, drawn_by = describe_pictures(evaluate, model, device, encoding, entrants[0].zero_terminal_snr)
    prompts = make_prompts(evaluate, trigger)
    seeds = list(dict.fromkeys(evaluate.seeds))
    bare = {one.index for one in prompts[: evaluate.grid_prompts] if one.text != one.bare}

    def list_shots(words: str, weight: float, adapter: str, lora: str) -> Iterator[Shot]:
        # Without the trigger words the prompts of all are the base's, whatever the words are.
        own = [replace(one, bare=prompts[one.index].bare) for one in make_prompts(evaluate, words)]
        for with_trigger in (True, False) if evaluate.without_trigger else (True,):
            for prompt in own:
                for seed in seeds if with_trigger or prompt.index in bare else ():
                    text = prompt.text if with_trigger else prompt.bare
                    key = compute_shot_key(evaluate, text, seed, weight, size, drawn_by, lora)
                    yield Shot(prompt, with_trigger, seed, weight, *size, key, adapter)

    return Plan(
        prompts,
        seeds,
        size,
        list(list_shots(trigger, 0.0, "", "")),
        [list(list_shots(one.trigger, one.weight, one.adapter, one.hash)) for one in entrants],
    )


def draw_shots(
    plan: Plan,
    entrants: Sequence[Entrant],
    evaluate: EvaluateSettings,
    model: ModelSettings,
    encoding: PromptEncoding,
    device: torch.device,
    samples: Path,
    old: Path,
    kept: PartialResults,
) -> int:
    """Write every shot's file below `samples`; how many pictures were drawn.

    Args:
        old: the samples of the last comparison, from which equal ones are taken.
        kept: takes each picture as it is drawn.

    Raises:
        UserError: there is no memory for a picture, or a file is not usable.
    """
    files = {one.adapter: one.file for one in entrants}
    painter = Painter(files, evaluate, model, device, encoding, entrants[0].zero_terminal_snr)
    return ShotDrawer(painter).fill(plan.shots, samples, [old], kept)
