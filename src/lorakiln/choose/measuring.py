"""Candidates drawn and measured, round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.choose.candidates import Candidate, name_adapter
from lorakiln.choose.rounds import order_prompts
from lorakiln.console.memory import is_tight
from lorakiln.evaluate.drawing import ShotDrawer
from lorakiln.evaluate.drawing_key import describe_drawing
from lorakiln.evaluate.metric_inputs import PictureModels, gather_inputs
from lorakiln.evaluate.painter import Painter
from lorakiln.evaluate.score_summaries import score_pictures
from lorakiln.evaluate.shots import compute_shot_key, make_prompts
from lorakiln.facts.run import RunFacts, SavedAdapter
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.metrics import Prompt, Scored, Shot, list_metrics
from lorakiln.schema.choose import ChooseSettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.worth.baseline import Baseline
from lorakiln.worth.bleed import BLEED, estimate_bleed
from lorakiln.worth.intervals import Estimate
from lorakiln.worth.measures import Measures


@dataclass(frozen=True)
class DrawingPlan:
    """What is drawn.

    Attributes:
        prompts: in the order in which rounds take them.
        bare: those that are drawn without their trigger words, too.
        size: width and height in pixels.
    """

    prompts: list[Prompt]
    bare: list[Prompt]
    seeds: list[int]
    size: tuple[int, int]
    drawn_by: str

    @classmethod
    def of(
        cls,
        facts: RunFacts,
        settings: ChooseSettings,
        evaluate: EvaluateSettings,
        model: ModelSettings,
        device: torch.device,
    ) -> "DrawingPlan":
        """Of a run's settings.

        Raises:
            UserError: see `evaluate.drawing_key.describe_drawing`.
        """
        size, drawn_by = describe_drawing(facts, evaluate, model, device, read_encoding(facts))
        prompts = make_prompts(evaluate, facts.trigger)
        seeds = list(dict.fromkeys(evaluate.seeds))[: settings.most_seeds]
        in_order = [prompts[number] for number in order_prompts(len(prompts), settings.most_prompts)]
        return cls(in_order, list_bare(prompts, evaluate), seeds, size, drawn_by)


def list_bare(prompts: Sequence[Prompt], evaluate: EvaluateSettings) -> list[Prompt]:
    """Those that are drawn without their trigger words, too: of the grid's prompts those that hold some."""
    return [one for one in prompts[: evaluate.grid_prompts] if evaluate.without_trigger and one.text != one.bare]


def read_encoding(facts: RunFacts) -> PromptEncoding:
    """How the run's prompts are encoded."""
    return PromptEncoding.of(facts.made_with("encode", EncodeSettings))


class CandidateMeasurer:
    """Draws with the saved steps of a run, and measures what was drawn.

    Args:
        adapters: the steps' files, below `run`.

    Attributes:
        scored: all pictures of each candidate so far, in the order in which they were drawn.
        bare: those of prompts without the trigger words, the base's first.
        base: the base's own, of all prompts; `baseline`: what they and the training pictures have. Known after the
            first round.
    """

    def __init__(
        self,
        facts: RunFacts,
        run: Path,
        adapters: Sequence[SavedAdapter],
        plan: DrawingPlan,
        evaluate: EvaluateSettings,
        model: ModelSettings,
        device: torch.device,
    ) -> None:
        files = {name_adapter(one.step): run / one.file for one in adapters}
        self._hashes = {name: hash_file(file) for name, file in files.items()}
        painter = Painter(files, evaluate, model, device, read_encoding(facts), facts.zero_terminal_snr)
        self._drawer, self._plan, self._evaluate, self._device = ShotDrawer(painter), plan, evaluate, device
        self._metrics, self._held_out = list_metrics(evaluate), facts.held_out_files
        self.scored: dict[Candidate, list[Scored]] = {}
        self.base: list[Scored] = []
        self.bare: list[Scored] = []
        self.baseline: Baseline | None = None

    def measure(
        self,
        candidates: Sequence[Candidate],
        prompts: int,
        models: PictureModels,
        captioned: Path,
        samples: Path,
        old: Path,
        kept: PartialResults,
    ) -> Mapping[Candidate, Measures]:
        """Draw what is missing of these candidates with the first `prompts` of the prompts, and measure all of each.

        Args:
            models: moved to the device, where that has room for them beside the base.
            samples: where the pictures go; `old`: those of the last choice, from which equal ones are taken.
            kept: takes each picture as it is drawn.

        Raises:
            UserError: there is no memory for a picture, or a file is not usable.
        """
        new = {one: self._list_shots(one, self._count_drawn(one), prompts) for one in candidates}
        base = self._list_base()
        shots = [*base, *(shot for some in new.values() for shot in some)]
        self._drawer.fill(shots, samples, [old], kept)
        inputs = gather_inputs(models.to(self._choose_place()), shots, samples, captioned, self._held_out)
        scored = score_pictures(inputs, self._metrics)
        if self.baseline is None:
            self.base = scored[: len(base)]
            self.baseline = Baseline.of(inputs, scored, self._metrics, self._plan.prompts)
        by_candidate = {(one.adapter, one.weight): one for one in candidates}
        for item in scored[len(base) :]:
            self.scored.setdefault(by_candidate[item.shot.adapter, item.shot.weight], []).append(item)
        return {one: self.baseline.measure(self.scored[one], prompts) for one in candidates}

    def measure_bleed(
        self,
        candidates: Sequence[Candidate],
        models: PictureModels,
        captioned: Path,
        samples: Path,
        old: Path,
        kept: PartialResults,
    ) -> dict[Candidate, Estimate]:
        """Draw the base and these candidates without the trigger words, and say how far theirs are from the base's.

        Nothing where there are no trigger words to leave out. Arguments and errors as of `measure`.
        """
        metrics = [one for one in self._metrics if one.name == BLEED]
        if not metrics or not self._plan.bare:
            return {}
        shots = self._list_bare(0.0, "")
        for one in candidates:
            shots += self._list_bare(one.weight, one.adapter)
        self._drawer.fill(shots, samples, [old], kept)
        self.bare = score_pictures(gather_inputs(models.to(self._choose_place()), shots, samples, captioned), metrics)
        groups = {one: [item for item in self.bare if _is_of(item.shot, one)] for one in candidates}
        found = {one: estimate_bleed(group) for one, group in groups.items()}
        return {one: bleed for one, bleed in found.items() if bleed is not None}

    def measure_base(self) -> Measures:
        """What the base's own pictures of all prompts say."""
        assert self.baseline is not None  # after the first round
        return self.baseline.measure(self.base, len(self._plan.prompts))

    def _count_drawn(self, candidate: Candidate) -> int:
        return len(self.scored.get(candidate, ())) // len(self._plan.seeds)

    def _list_base(self) -> list[Shot]:
        return [self._make_shot(prompt, seed, 0.0, "") for prompt in self._plan.prompts for seed in self._plan.seeds]

    def _list_bare(self, weight: float, adapter: str) -> list[Shot]:
        return [
            self._make_shot(prompt, seed, weight, adapter, with_trigger=False)
            for prompt in self._plan.bare
            for seed in self._plan.seeds
        ]

    def _list_shots(self, candidate: Candidate, first: int, last: int) -> list[Shot]:
        return [
            self._make_shot(prompt, seed, candidate.weight, candidate.adapter)
            for prompt in self._plan.prompts[first:last]
            for seed in self._plan.seeds
        ]

    def _make_shot(self, prompt: Prompt, seed: int, weight: float, adapter: str, with_trigger: bool = True) -> Shot:
        plan = self._plan
        lora = self._hashes.get(adapter, "")
        text = prompt.text if with_trigger else prompt.bare
        key = compute_shot_key(self._evaluate, text, seed, weight, plan.size, plan.drawn_by, lora)
        return Shot(prompt, with_trigger, seed, weight, *plan.size, key, adapter)

    def _choose_place(self) -> torch.device:
        """Where CLIP looks: beside the base, if the device has room for both."""
        return torch.device("cpu") if is_tight(self._device) else self._device


def _is_of(shot: Shot, candidate: Candidate) -> bool:
    return (shot.adapter, shot.weight) == (candidate.adapter, candidate.weight)
