"""The rule by which a step and a weight are recommended; docs/evaluation.md gives its reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lorakiln.choose.candidates import TRAINED_AT, Candidate
from lorakiln.facts.choice import Measured, MeasuredCandidate, Recommended
from lorakiln.metrics import format_weight
from lorakiln.worth.assessment import UNDER, Assessed, assess, describe, explain_state, find_most_followed, pick
from lorakiln.worth.bleed import BLED, add_bleed, describe_bleed
from lorakiln.worth.intervals import FEWEST_PROMPTS, Estimate
from lorakiln.worth.measures import Measures, compare, weigh

NO_CLIP = "Which step to use cannot be told: the model's CLIP does not know such pictures as the training pictures."
FEW = f"Which step to use cannot be told: fewer than {FEWEST_PROMPTS} prompts were drawn (evaluate.prompts)."
AssessedCandidate = Assessed[Candidate]
STEADIER = 0.1  # by which seeds agree more at the last step than at the first, where they do


@dataclass(frozen=True)
class Decision:
    """What follows from the measures: `facts.choice.Choice` without the pictures.

    Attributes:
        can_tell: whether enough prompts were drawn.
    """

    best: AssessedCandidate | None
    low: float
    high: float
    headline: str
    rivals: list[str]
    advice: list[str]
    assessed: list[AssessedCandidate]
    can_tell: bool = True


def rank(measured: Mapping[Candidate, Measures], base: Measures) -> list[Candidate]:
    """The candidates, the most worth first; of equals the earlier step, then the lower weight."""
    most = find_most_followed([base, *measured.values()])
    worths = {one: weigh(measures, most).worth for one, measures in measured.items()}
    return sorted(worths, key=lambda one: (-worths[one], one))


def decide(
    measured: Mapping[Candidate, Measures], base: Measures, bleed: Mapping[Candidate, Estimate] | None = None
) -> Decision:
    """Which candidate to use, and what to say.

    Args:
        measured: every candidate, with the prompts that it was drawn with.
        base: of all prompts.
        bleed: of those that were drawn without the trigger words, too; see `worth.bleed.estimate_bleed`.
    """
    bleed = bleed or {}
    most = find_most_followed([base, *measured.values()])
    assessed = _find_overdone([assess(one, measures, base, most) for one, measures in sorted(measured.items())])
    assessed = [add_bleed(one, bleed.get(one.candidate)) for one in assessed]
    full = max(one.measures.prompts for one in assessed)
    if full < FEWEST_PROMPTS:
        return Decision(None, 0, 0, FEW, [], [], assessed, can_tell=False)
    finalists = [one for one in assessed if one.measures.prompts == full]
    picked = pick(finalists, most)
    best, alike = picked.best, picked.alike
    weights = [one.candidate.weight for one in (best, *alike) if one.candidate.step == best.candidate.step]
    low, high = min(weights), max(weights)
    advice = _advise(best, assessed, most)
    if picked.why_not:
        why = picked.why_not
        if best.state == "unsteady":
            why = f"of {_name(best)}, which has come furthest, {why}"
        return Decision(None, low, high, f"No saved step can be recommended: {why}", [], advice, assessed)
    rivals = _rivals(best, alike, picked.usable, most)
    return Decision(best, low, high, _headline(best, low, high), rivals, advice, assessed)


def _name(assessed: AssessedCandidate) -> str:
    return f"step {assessed.candidate.step} at weight {format_weight(assessed.candidate.weight)}"


def _find_overdone(assessed: Sequence[AssessedCandidate]) -> list[AssessedCandidate]:
    """The same, but broken where too little is shown at a weight, and enough of it at a lower one of the same step."""

    def is_overdone(one: AssessedCandidate) -> bool:
        at, weight = one.candidate.step, one.candidate.weight
        lower = [other for other in assessed if other.candidate.step == at and other.candidate.weight < weight]
        return one.state == "underfitted" and any(other.factors.learned >= UNDER for other in lower)

    return [replace(one, state="broken") if is_overdone(one) else one for one in assessed]


def _headline(best: AssessedCandidate, low: float, high: float) -> str:
    span = "" if low == high else f"; {format_weight(low)} to {format_weight(high)} are as good as can be told"
    return f"Use {_name(best)}{span}. It {describe(best)}"


def _rivals(
    best: AssessedCandidate, alike: Sequence[AssessedCandidate], usable: Sequence[AssessedCandidate], most: float
) -> list[str]:
    others = [one for one in alike if one.candidate.step != best.candidate.step]
    rivals = []
    if others:
        names = " and ".join(_name(one) for one in sorted(others, key=lambda one: -one.worth.mean)[:3])
        rivals.append(f"The measures cannot tell it apart from {names}: look at the grid.")
    bleeding = [one for one in alike if _bleeds_less(one, best)]
    if bleeding and best.bleed and bleeding[0].bleed:
        name = _name(bleeding[0])
        rivals.append(
            f"{name[0].upper()}{name[1:]} is worth as much, as far as can be told, and bleeds less "
            f"({bleeding[0].bleed.mean:.0%} against {best.bleed.mean:.0%})."
        )
    behind = [one for one in usable if one is not best and one not in alike]
    if behind and not others:
        second = max(behind, key=lambda one: one.worth.mean)
        gap = compare(best.measures, second.measures, most)
        rivals.append(f"Next comes {_name(second)}, worth {gap.mean:.2f} less ({gap.low:.2f} to {gap.high:.2f}).")
    return rivals


def _advise(best: AssessedCandidate, assessed: Sequence[AssessedCandidate], most: float) -> list[str]:
    """What to change next time, each with the measure that says so."""
    advice = []
    steps = sorted({one.candidate.step for one in assessed})
    weights = sorted({one.candidate.weight for one in assessed})
    tops = {step: max((one for one in assessed if one.candidate.step == step), key=_by_worth) for step in steps}
    at, last = best.candidate.step, tops[steps[-1]]
    if best.state == "broken" and all(tops[step].state == "broken" for step in steps):
        advice.append(f"A lower rate (train.optimizer.lr): already at step {steps[0]} {explain_state(tops[steps[0]])}")
    elif best.state == "unsteady":
        advice.append(_advise_steadier(best, [tops[step].factors.agreement for step in steps]))
    elif best.factors.learned < UNDER and at == steps[-1]:
        advice.append(
            f"Train longer or stronger (train.steps, train.optimizer.lr, train.adapter.rank): at the last step the "
            f"pictures show {best.factors.learned:.0%} of what the training pictures show."
        )
    elif (
        best.usable
        and len(steps) > 1
        and at == steps[-1]
        and all(_beats(best, tops[step], most) for step in steps[:-1])
    ):
        advice.append(f"Train longer (train.steps): the last step is clearly worth more than step {steps[-2]}.")
    if best.usable and at < steps[-1] and _beats(best, last, most):
        why = "follows the prompt worse" if last.factors.followed < best.factors.followed else "is worth less"
        advice.append(f"Fewer steps would do (train.steps={at}): step {steps[-1]} {why} than step {at}.")
    stronger = [one for one in assessed if one.candidate.step == at and one.candidate.weight > best.candidate.weight]
    if (
        best.usable
        and best.candidate.weight == weights[0] < TRAINED_AT
        and any(_beats(best, one, most) for one in stronger)
    ):
        advice.append(
            f"It is best where it is turned down furthest, to {format_weight(weights[0])}: train with a lower rate or "
            "fewer steps, or add lower weights to choose.weights."
        )
    if any(one.state == "memorised" for one in assessed):
        worst = max(assessed, key=lambda one: one.copies)
        advice.append(
            f"More pictures, or fewer steps: at {_name(worst)} {worst.copies:.0%} of the pictures are nearer to a "
            "training picture than any two training pictures are to each other."
        )
    if best.state == "overfitted":
        advice.append(
            "Captions that name what changes from picture to picture (background, pose, clothes), a lower rank or "
            f"fewer steps: the prompt is followed {best.factors.followed:.0%} as well as the best."
        )
    if best.bleed is not None and best.bleed.mean >= BLED:
        advice.append(describe_bleed(best.bleed))
    return advice


def _advise_steadier(best: AssessedCandidate, agreement: Sequence[float]) -> str:
    """What helps where each seed shows something else: what agrees more from step to step is on its way."""
    if agreement[-1] - agreement[0] > STEADIER:
        return (
            "Train longer or stronger (train.steps, train.optimizer.lr, train.adapter.rank): the seeds of a prompt "
            f"agree more from step to step, {agreement[0]:.0%} at the first and {agreement[-1]:.0%} at the last."
        )
    return (
        "A lower rate (train.optimizer.lr), a higher rank where it is small (train.adapter.rank), or other pictures "
        f"and captions: {explain_state(best)}"
    )


def _bleeds_less(one: AssessedCandidate, other: AssessedCandidate) -> bool:
    """Whether its interval lies wholly below the other's."""
    if one.bleed is None or other.bleed is None or one.bleed.high is None or other.bleed.low is None:
        return False
    return one.bleed.high < other.bleed.low


def _beats(one: AssessedCandidate, other: AssessedCandidate, most: float) -> bool:
    """Whether it is clearly worth more."""
    return compare(one.measures, other.measures, most).rises


def _by_worth(one: AssessedCandidate) -> tuple[int, float]:
    """Of the same step; more prompts say more."""
    return one.measures.prompts, one.worth.mean


def to_facts(assessed: AssessedCandidate, pictures: int) -> MeasuredCandidate:
    """As choice.json holds it."""
    factors = assessed.factors
    return MeasuredCandidate(
        step=assessed.candidate.step,
        weight=assessed.candidate.weight,
        prompts=assessed.measures.prompts,
        pictures=pictures,
        worth=assessed.worth.as_dict(),
        learned=round(factors.learned, 6),
        detail=round(factors.detail, 6),
        followed=round(factors.followed, 6),
        agreement=round(factors.agreement, 6),
        whole=round(factors.whole, 6),
        copies=round(assessed.copies, 6),
        moved=None if assessed.moved is None else round(assessed.moved, 6),
        bleed=None if assessed.bleed is None else Measured(**assessed.bleed.as_dict()),
        state=assessed.state,
    )


def recommend(decision: Decision, picture: str) -> Recommended | None:
    """As choice.json holds it; None where nothing is recommended."""
    if decision.best is None:
        return None
    one = decision.best.candidate
    return Recommended(step=one.step, weight=one.weight, low=decision.low, high=decision.high, picture=picture)
