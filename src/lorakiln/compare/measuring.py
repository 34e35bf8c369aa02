"""From pictures to what each file is worth, beside the base and beside the others on the same prompts and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from lorakiln.compare.drawing import Plan
from lorakiln.compare.entrants import Entrant
from lorakiln.evaluate.metric_inputs import PictureModels, gather_inputs
from lorakiln.evaluate.nearest_pairs import NearestPair, find_nearest_pairs
from lorakiln.evaluate.score_summaries import Summary, score_pictures, summarise
from lorakiln.metrics import Metric, Scored, list_in_report_order, list_metrics
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.worth.assessment import Assessed, assess, find_most_followed
from lorakiln.worth.baseline import Baseline
from lorakiln.worth.bleed import add_bleed, estimate_bleed
from lorakiln.worth.intervals import Estimate
from lorakiln.worth.measures import Measures, compare


@dataclass(frozen=True)
class Pair:
    """Two files, and how much more the first is worth on the same prompts and seeds.

    Attributes:
        first, second: their places.
    """

    first: int
    second: int
    difference: Estimate

    @property
    def better(self) -> int | None:
        """The place of the one that is clearly worth more; None where that cannot be told."""
        if self.difference.rises:
            return self.first
        return self.second if self.difference.falls else None


@dataclass(frozen=True)
class Measured:
    """All numbers of a comparison.

    Attributes:
        metrics: as they stand in tables.
        base: the base's own pictures, assessed as a file's are.
        assessed: each entrant, by its place.
        summaries: of each entrant, every metric at its weight and of the base, and the differences.
        pairs: every two entrants.
        most: see `worth.assessment.find_most_followed`.
        scored: the base's pictures, then each entrant's.
        nearest: of each entrant, its pictures that are nearest to training pictures.
    """

    metrics: list[Metric]
    base: Assessed[None]
    assessed: list[Assessed[Entrant]]
    summaries: list[Summary]
    pairs: list[Pair]
    most: float
    scored: list[Scored]
    nearest: list[list[NearestPair]]


def measure_files(
    plan: Plan,
    entrants: Sequence[Entrant],
    evaluate: EvaluateSettings,
    models: PictureModels,
    samples: Path,
    captioned: Path,
) -> Measured:
    """Look at the pictures, and assess each file by the rule that chooses saved steps.

    Args:
        models: on the device.
        samples: the plan's pictures.
        captioned: the training pictures.

    Raises:
        UserError: CLIP gives numbers that are not finite, or has no memory for a picture.
    """
    metrics = list_metrics(evaluate)
    inputs = gather_inputs(models, plan.shots, samples, captioned)
    scored = score_pictures(inputs, metrics)
    ends = np.cumsum([len(plan.base), *map(len, plan.of)])
    base, *own = [scored[end - count : end] for end, count in zip(ends, map(len, (plan.base, *plan.of)), strict=True)]
    baseline = Baseline.of(inputs, [item for item in base if item.shot.with_trigger], metrics, plan.prompts)
    measures = [baseline.measure(some, len(plan.prompts)) for some in own]
    bases = baseline.measure(base, len(plan.prompts))
    most = find_most_followed([bases, *measures])
    in_order = list_in_report_order(metrics)
    return Measured(
        in_order,
        assess(None, bases, bases, most),
        [
            add_bleed(assess(one, some, bases, most), estimate_bleed(shots))
            for one, some, shots in zip(entrants, measures, own, strict=True)
        ],
        [
            summarise([*base, *some], in_order, plan.prompts, [0.0, one.weight])
            for one, some in zip(entrants, own, strict=True)
        ],
        compare_pairs(measures, most),
        most,
        scored,
        [find_nearest_pairs(inputs, one.weight, one.adapter) for one in entrants],
    )


def compare_pairs(measures: Sequence[Measures], most: float) -> list[Pair]:
    """Every two of the entrants, whose measures these are."""
    return [
        Pair(first, second, compare(measures[first], measures[second], most))
        for first, second in combinations(range(len(measures)), 2)
    ]
