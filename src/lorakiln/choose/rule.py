"""The rule by which a step and a weight are recommended; docs/evaluation.md gives its reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lorakiln.choose.candidates import Candidate, Measures, Parts, compare, estimate, weigh
from lorakiln.evaluate.intervals import FEWEST_PROMPTS, Estimate
from lorakiln.facts import MeasuredCandidate, Recommended
from lorakiln.metrics import format_weight
from lorakiln.metrics.coherence import AGREE, MOST_PROMPTS

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

NO_CLIP = "Which step to use cannot be told: the model's CLIP does not know such pictures as the training pictures."
FEW = f"Which step to use cannot be told: fewer than {FEWEST_PROMPTS} prompts were drawn (evaluate.prompts)."


@dataclass(frozen=True)
class Judged:
    """A candidate, what it is worth, and what is the matter with it.

    Attributes:
        state: see `facts.MeasuredCandidate`.
    """

    candidate: Candidate
    measures: Measures
    parts: Parts
    worth: Estimate
    copies: float
    state: str

    @property
    def usable(self) -> bool:
        return self.state not in ("broken", "memorised")

    @property
    def name(self) -> str:
        return f"step {self.candidate.step} at weight {format_weight(self.candidate.weight)}"


@dataclass(frozen=True)
class Decision:
    """What follows from the measures: `facts.Choice` without the pictures."""

    best: Judged | None
    low: float
    high: float
    headline: str
    rivals: list[str]
    advice: list[str]
    judged: list[Judged]


def find_most_followed(measured: Mapping[Candidate, Measures], base: Measures) -> float:
    """What counts as following the prompt wholly: the base's own, or a candidate's if that follows it better still."""
    means = [_mean(one.followed) for one in (base, *measured.values())]
    known = [value for value in means if not np.isnan(value)]
    return max(known, default=0.0)


def rank(measured: Mapping[Candidate, Measures], base: Measures) -> list[Candidate]:
    """The candidates, the most worth first; of equals the earlier step, then the lower weight."""
    most = find_most_followed(measured, base)
    worths = {one: weigh(measures, most).worth for one, measures in measured.items()}
    return sorted(worths, key=lambda one: (-worths[one], one))


def decide(measured: Mapping[Candidate, Measures], base: Measures) -> Decision:
    """Which candidate to use, and what to say.

    Args:
        measured: every candidate, with the prompts that it was drawn with.
        base: of all prompts.
    """
    most = find_most_followed(measured, base)
    judged = _find_overdone([_judge(one, measures, base, most) for one, measures in sorted(measured.items())])
    full = max(one.measures.prompts for one in judged)
    if full < FEWEST_PROMPTS:
        return Decision(None, 0, 0, FEW, [], [], judged)
    finalists = [one for one in judged if one.measures.prompts == full]
    usable = [one for one in finalists if one.usable] or finalists
    best = min(usable, key=lambda one: (-one.worth.mean, one.candidate))
    alike = [one for one in usable if one is not best and not compare(best.measures, one.measures, most).rises]
    weights = [one.candidate.weight for one in (best, *alike) if one.candidate.step == best.candidate.step]
    low, high = min(weights), max(weights)
    advice = _advise(best, judged, most)
    if not best.usable or (_estimate_learned(best, most).low or 0) < SHOWN:
        what = "No saved step can be recommended: "
        reason = _explain_state(best) if not best.usable else "none has learned anything that can be shown."
        return Decision(None, low, high, what + reason, [], advice, judged)
    return Decision(best, low, high, _headline(best, low, high), _rivals(best, alike, usable, most), advice, judged)


def _judge(candidate: Candidate, measures: Measures, base: Measures, most: float) -> Judged:
    parts = weigh(measures, most)
    worth = estimate(lambda rows: weigh(measures, most, rows).worth, measures.prompts)
    copies = max(0.0, _mean(measures.copies) - _mean(base.copies[: measures.prompts]))
    return Judged(candidate, measures, parts, worth, copies, _find_state(measures, base, parts, copies, most))


def _find_state(measures: Measures, base: Measures, parts: Parts, copies: float, most: float) -> str:
    if 1 - parts.whole >= DAMAGED:
        return "broken"
    if parts.learned < UNDER:
        return "broken" if parts.learned < SHOWN and _mean(measures.moved) >= ASTRAY else "underfitted"
    agreeing = measures.agreeing[~np.isnan(measures.agreeing)]
    if len(agreeing) and np.mean(agreeing >= AGREE) < MOST_PROMPTS:
        return "broken"
    if copies >= COPIED:
        return "memorised"
    count = measures.prompts
    lost = estimate(lambda rows: _mean(measures.followed[rows]) - _mean(base.followed[:count][rows]), count)
    if lost.falls and parts.followed < 1 - LOST:
        return "overfitted"
    return "good"


def _find_overdone(judged: Sequence[Judged]) -> list[Judged]:
    """The same, but broken where too little is shown at a weight, and enough of it at a lower one of the same step."""

    def is_overdone(one: Judged) -> bool:
        at, weight = one.candidate.step, one.candidate.weight
        lower = [other for other in judged if other.candidate.step == at and other.candidate.weight < weight]
        return one.state == "underfitted" and any(other.parts.learned >= UNDER for other in lower)

    return [replace(one, state="broken") if is_overdone(one) else one for one in judged]


def _explain_state(judged: Judged) -> str:
    if judged.state == "memorised":
        return f"{judged.copies:.0%} of the pictures copy a training picture."
    if 1 - judged.parts.whole >= DAMAGED:
        return f"{1 - judged.parts.whole:.0%} of the pictures are burnt or noisy."
    if judged.parts.learned < UNDER:
        moved = _mean(judged.measures.moved)
        return (
            f"the pictures have left the base's ({moved:.1f} times as far as another seed's are) and show "
            f"{judged.parts.learned:.0%} of what the training pictures show."
        )
    return "each seed shows something else."


def _headline(best: Judged, low: float, high: float) -> str:
    span = "" if low == high else f"; {format_weight(low)} to {format_weight(high)} are as good as can be told"
    parts = best.parts
    more = {
        "underfitted": " It is still too weak, and the best there is.",
        "overfitted": " It pays for that: it follows the prompt clearly worse than the base does.",
    }.get(best.state, "")
    followed = "as well as any that were drawn, the base included"
    if parts.followed < AS_WELL:
        followed = f"{parts.followed:.0%} as well as the best that were drawn, the base included"
    return (
        f"Use step {best.candidate.step} at weight {format_weight(best.candidate.weight)}{span}. It shows "
        f"{parts.learned:.0%} of what the training pictures show, in detail {parts.detail:.0%}, and follows prompts "
        f"{followed}.{more}"
    )


def _rivals(best: Judged, alike: Sequence[Judged], usable: Sequence[Judged], most: float) -> list[str]:
    others = [one for one in alike if one.candidate.step != best.candidate.step]
    told = []
    if others:
        names = " and ".join(one.name for one in sorted(others, key=lambda one: -one.worth.mean)[:3])
        told.append(f"The measures cannot tell it apart from {names}: look at the grid.")
    behind = [one for one in usable if one is not best and one not in alike]
    if behind and not others:
        second = max(behind, key=lambda one: one.worth.mean)
        gap = compare(best.measures, second.measures, most)
        told.append(f"Next comes {second.name}, worth {gap.mean:.2f} less ({gap.low:.2f} to {gap.high:.2f}).")
    return told


def _advise(best: Judged, judged: Sequence[Judged], most: float) -> list[str]:
    """What to change next time, each with the measure that says so."""
    told = []
    steps = sorted({one.candidate.step for one in judged})
    weights = sorted({one.candidate.weight for one in judged})
    tops = {step: max((one for one in judged if one.candidate.step == step), key=_by_worth) for step in steps}
    at, last = best.candidate.step, tops[steps[-1]]
    if best.state == "broken" and all(tops[step].state == "broken" for step in steps):
        told.append(f"A lower rate (train.optimizer.lr): already at step {steps[0]} {_explain_state(tops[steps[0]])}")
    elif best.parts.learned < UNDER and at == steps[-1]:
        told.append(
            f"Train longer or stronger (train.steps, train.optimizer.lr, train.adapter.rank): at the last step the "
            f"pictures show {best.parts.learned:.0%} of what the training pictures show."
        )
    elif len(steps) > 1 and at == steps[-1] and all(_beats(best, tops[step], most) for step in steps[:-1]):
        told.append(f"Train longer (train.steps): the last step is clearly worth more than step {steps[-2]}.")
    if at < steps[-1] and _beats(best, last, most):
        why = "follows the prompt worse" if last.parts.followed < best.parts.followed else "is worth less"
        told.append(f"Fewer steps would do (train.steps={at}): step {steps[-1]} {why} than step {at}.")
    stronger = [one for one in judged if one.candidate.step == at and one.candidate.weight > best.candidate.weight]
    if best.candidate.weight == weights[0] and any(_beats(best, one, most) for one in stronger):
        told.append(
            f"It is best where it is turned down furthest, to {format_weight(weights[0])}: train with a lower rate or "
            "fewer steps, or add lower weights to choose.weights."
        )
    if any(one.state == "memorised" for one in judged):
        worst = max(judged, key=lambda one: one.copies)
        told.append(
            f"More pictures, or fewer steps: at {worst.name} {worst.copies:.0%} of the pictures are nearer to a "
            "training picture than any two training pictures are to each other."
        )
    if best.state == "overfitted":
        told.append(
            "Captions that name what changes from picture to picture (background, pose, clothes), a lower rank or "
            f"fewer steps: the prompt is followed {best.parts.followed:.0%} as well as the best."
        )
    return told


def _beats(one: Judged, other: Judged, most: float) -> bool:
    """Whether it is clearly worth more."""
    return compare(one.measures, other.measures, most).rises


def _by_worth(one: Judged) -> tuple[int, float]:
    """Of the same step; more prompts say more."""
    return one.measures.prompts, one.worth.mean


def _estimate_learned(judged: Judged, most: float) -> Estimate:
    measures = judged.measures
    return estimate(lambda rows: weigh(measures, most, rows).learned, measures.prompts)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def to_facts(judged: Judged, pictures: int) -> MeasuredCandidate:
    """As choice.json holds it."""
    parts = judged.parts
    return MeasuredCandidate(
        step=judged.candidate.step,
        weight=judged.candidate.weight,
        prompts=judged.measures.prompts,
        pictures=pictures,
        worth=judged.worth.as_dict(),
        learned=round(parts.learned, 6),
        detail=round(parts.detail, 6),
        followed=round(parts.followed, 6),
        agreement=round(parts.agreement, 6),
        whole=round(parts.whole, 6),
        copies=round(judged.copies, 6),
        moved=_round_known(_mean(judged.measures.moved)),
        state=judged.state,
    )


def _round_known(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)


def recommend(decision: Decision, picture: str) -> Recommended | None:
    """As choice.json holds it; None where nothing is recommended."""
    if decision.best is None:
        return None
    one = decision.best.candidate
    return Recommended(step=one.step, weight=one.weight, low=decision.low, high=decision.high, picture=picture)
