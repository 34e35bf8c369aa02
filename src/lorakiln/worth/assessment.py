"""What is the matter with each of several, and which is worth most; docs/evaluation.md gives the rule's reasons.

They are saved steps of a run at some weight (`rule.decide`), or files that are compared.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from lorakiln.metrics.coherence import AGREE, MOST_PROMPTS
from lorakiln.worth.intervals import Estimate
from lorakiln.worth.measures import Factors, Measures, compare, estimate, weigh

UNDER = 0.5  # of what the training pictures show; less is underfitted
SHOWN = 0.15  # the same: where the best one's interval begins below it, nothing was learned that can be shown
LOST = 0.15  # of following the prompt, that a LoRA clearly loses, is overfitted
DAMAGED = 0.25  # of the pictures; as many are broken
# Of the pictures, beyond the base's; as many copies are memorised. Of a character from 20 pictures 0 to 3% were copies,
# from 4 pictures 25 to 79%, and few of these showed what was asked for.
COPIED = 0.25
# Of the way to another seed's picture. What went as far from the base's pictures and learned nothing is not too weak: a
# training at a third of the rate went 0.2 to 0.8 far, diverged ones and weights of 2 and 3 went 1.5 to 2.4.
ASTRAY = 1.0
AS_WELL = 0.995  # rounded it is all
UNUSABLE = ("broken", "memorised", "unsteady")
Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class Assessed(Generic[Drawn]):
    """One that was drawn with, what it is worth, and what is the matter with it.

    Attributes:
        candidate: what it is; they have an order.
        state: see `facts.choice.MeasuredCandidate`.
        bleed: see `worth.bleed.estimate_bleed`; None where it was not measured.
    """

    candidate: Drawn
    measures: Measures
    factors: Factors
    worth: Estimate
    copies: float
    state: str
    bleed: Estimate | None = None

    @property
    def usable(self) -> bool:
        return self.state not in UNUSABLE

    @property
    def moved(self) -> float | None:
        """How far its pictures are from the base's, see `Measures.moved`; None if that is not known."""
        value = _mean(self.measures.moved)
        return None if np.isnan(value) else value


@dataclass(frozen=True)
class Pick(Generic[Drawn]):
    """Which of several is worth most.

    Attributes:
        best: of those that are usable, if any is.
        alike: the others that are not clearly worth less.
        usable: those that `best` is the best of, itself among them.
        why_not: a sentence that says why the best one is not to be used; "" if it is.
    """

    best: Assessed[Drawn]
    alike: list[Assessed[Drawn]]
    usable: list[Assessed[Drawn]]
    why_not: str


def find_most_followed(measures: Iterable[Measures]) -> float:
    """What counts as following the prompt wholly: the base's own, or a candidate's if that follows it better still.

    Args:
        measures: the base's and the candidates'.
    """
    known = [value for value in (_mean(one.followed) for one in measures) if not np.isnan(value)]
    return max(known, default=0.0)


def assess(candidate: Drawn, measures: Measures, base: Measures, most: float) -> Assessed[Drawn]:
    """What one is worth, and what is the matter with it.

    Args:
        base: the base's pictures, of these prompts at least, in their order.
        most: see `find_most_followed`.
    """
    factors = weigh(measures, most)
    worth = estimate(lambda rows: weigh(measures, most, rows).worth, measures.prompts)
    copies = max(0.0, _mean(measures.copies) - _mean(base.copies[: measures.prompts]))
    return Assessed(candidate, measures, factors, worth, copies, _find_state(measures, base, factors, copies, most))


def pick(assessed: Sequence[Assessed[Drawn]], most: float) -> Pick[Drawn]:
    """The one that is worth most, of equals the first in their order; and which cannot be told apart from it.

    Of what is not usable one is best where nothing else is, or only what is too weak and worth less. Where nothing is
    usable it is the one that shows most, of those that are not broken if there are any: by worth, which counts prompts,
    too, an early step that has not begun to copy would stand for a training that ends in copies.

    Args:
        assessed: all drawn with the same prompts.
    """
    usable = [one for one in assessed if one.usable]
    best = min(usable, key=_by_worth) if usable else min(assessed, key=_by_what_is_shown)
    usable = usable or list(assessed)
    # Too weak is no better than not steady yet: the one worth more stands for what the training has come to.
    further = [one for one in assessed if one.state == "unsteady" and _by_worth(one) < _by_worth(best)]
    if best.state == "underfitted" and further:
        usable = [best, *further]
        best = min(further, key=_by_worth)
    alike = [one for one in usable if one is not best and not compare(best.measures, one.measures, most).rises]
    why_not = ""
    if not best.usable:
        why_not = explain_state(best)
    elif (estimate_learned(best, most).low or 0) < SHOWN:
        why_not = "none has learned anything that can be shown."
    return Pick(best, alike, usable, why_not)


def _by_worth(assessed: Assessed[Any]) -> tuple[float, Any]:
    return -assessed.worth.mean, assessed.candidate


def _by_what_is_shown(assessed: Assessed[Any]) -> tuple[bool, float, float, Any]:
    return assessed.state == "broken", -assessed.factors.learned, -assessed.worth.mean, assessed.candidate


def _find_state(measures: Measures, base: Measures, factors: Factors, copies: float, most: float) -> str:
    if 1 - factors.whole >= DAMAGED:
        return "broken"
    if factors.learned < UNDER:
        return "broken" if factors.learned < SHOWN and _mean(measures.moved) >= ASTRAY else "underfitted"
    # Before the seeds are looked at: what copies one training picture by one seed and another by the next is no debris.
    if copies >= COPIED:
        return "memorised"
    if _share_unsteady(measures) > 1 - MOST_PROMPTS:
        return "unsteady"
    count = measures.prompts
    lost = estimate(lambda rows: _mean(measures.followed[rows]) - _mean(base.followed[:count][rows]), count)
    if lost.falls and factors.followed < 1 - LOST:
        return "overfitted"
    return "good"


def _share_unsteady(measures: Measures) -> float:
    """The share of the prompts of which each seed shows something else; 0 where nothing is known of it."""
    known = measures.agreeing[~np.isnan(measures.agreeing)]
    return float(np.mean(known < AGREE)) if len(known) else 0.0


def explain_state(assessed: Assessed[Any]) -> str:
    """Why one is not usable."""
    if assessed.state == "memorised":
        return f"{assessed.copies:.0%} of the pictures copy a training picture."
    if assessed.state == "unsteady":
        return f"in {_share_unsteady(assessed.measures):.0%} of the prompts each seed shows something else."
    if 1 - assessed.factors.whole >= DAMAGED:
        return f"{1 - assessed.factors.whole:.0%} of the pictures are burnt, noisy or mottled."
    shown = f"{assessed.factors.learned:.0%} of what the training pictures show"
    if assessed.moved is None:  # one seed alone was drawn
        return f"the pictures show {shown}, and more at a lower weight."
    return (
        f"the pictures have left the base's ({assessed.moved:.1f} times as far as another seed's are) and show {shown}."
    )


def describe(assessed: Assessed[Any]) -> str:
    """What follows its name: what it shows, and how well it follows prompts, for a beginner."""
    factors = assessed.factors
    more = {
        "underfitted": " It is still too weak, and the best there is.",
        "overfitted": " It pays for that: it follows the prompt clearly worse than the base does.",
    }.get(assessed.state, "")
    followed = "as well as any that were drawn, the base included"
    if factors.followed < AS_WELL:
        followed = f"{factors.followed:.0%} as well as the best that were drawn, the base included"
    return (
        f"shows {factors.learned:.0%} of what the training pictures show, in detail {factors.detail:.0%}, and follows "
        f"prompts {followed}.{more}"
    )


def estimate_learned(assessed: Assessed[Any], most: float) -> Estimate:
    """How much of what the training pictures show it shows, 0 to 1."""
    measures = assessed.measures
    return estimate(lambda rows: weigh(measures, most, rows).learned, measures.prompts)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
