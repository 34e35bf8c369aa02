"""What a comparison says: which file is worth most, and which cannot be told apart from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorakiln.compare.entrants import Entrant
from lorakiln.compare.measuring import Measured
from lorakiln.worth.assessment import Assessed, describe, explain_state, pick
from lorakiln.worth.intervals import FEWEST_PROMPTS, Estimate

NO_CLIP = "Which is better cannot be told: the model's CLIP does not know such pictures as the training pictures."
FEW = f"Which is better cannot be told: fewer than {FEWEST_PROMPTS} prompts were drawn (evaluate.prompts)."
STATES = {
    "underfitted": "shows less than half of what the training pictures show",
    "overfitted": "follows prompts clearly worse than the base",
    "bled": "changes pictures of prompts without its trigger words, too",
}


@dataclass(frozen=True)
class Verdict:
    """In words.

    Attributes:
        headline: what a beginner understands.
        more: sentences that stand below it.
        best: the place of the file that is worth most; None where that cannot be told, or none is worth anything.
        alike: the places of those that cannot be told apart from it.
    """

    headline: str
    more: list[str]
    best: int | None = None
    alike: tuple[int, ...] = ()


def decide(measured: Measured, strange: str | None) -> Verdict:
    """What the numbers say.

    Args:
        strange: what to say where the training pictures are of a kind that CLIP does not know.
    """
    if strange:
        return Verdict(NO_CLIP, [strange])
    if measured.base.measures.prompts < FEWEST_PROMPTS:
        return Verdict(FEW, [])
    picked = pick(measured.assessed, measured.most)
    if picked.why_not:
        what = picked.why_not if picked.best.usable else f"of {_name(picked.best)} {picked.why_not}"
        return Verdict(f"None of them can be recommended: {what}", _explain_states(measured.assessed))
    best, alike = picked.best.candidate, sorted(one.candidate for one in picked.alike)
    if alike:
        letters = _list_words([one.letter for one in sorted([best, *alike])])
        headline = f"{letters} cannot be told apart: look at the pictures. {best.letter} {describe(picked.best)}"
    else:
        headline = f"{_name(picked.best)} is clearly worth most. It {describe(picked.best)}"
    more = [_describe_next(measured, best.place)] if not alike else []
    more += _explain_states([one for one in measured.assessed if one.candidate is not best])
    return Verdict(headline, [line for line in more if line], best.place, tuple(one.place for one in alike))


def _name(assessed: Assessed[Entrant]) -> str:
    return f"{assessed.candidate.letter} ({assessed.candidate.title})"


def _describe_next(measured: Measured, best: int) -> str:
    """The one that comes closest, and by how much."""
    gaps = [(other, gap) for other, gap in list_gaps(measured, best) if measured.assessed[other].usable]
    if not gaps:
        return ""
    other, gap = min(gaps, key=lambda one: one[1].mean)
    name = measured.assessed[other].candidate.letter
    return f"Next comes {name}, worth {gap.mean:.2f} less ({gap.low:.2f} to {gap.high:.2f})."


def list_gaps(measured: Measured, place: int) -> list[tuple[int, Estimate]]:
    """How much more one is worth than each of the others, by their places."""
    found = []
    for pair in measured.pairs:
        if pair.first == place:
            found.append((pair.second, pair.difference))
        elif pair.second == place:
            found.append((pair.first, turn_around(pair.difference)))
    return found


def turn_around(difference: Estimate) -> Estimate:
    """How much less."""
    low, high = difference.low, difference.high
    return Estimate(
        -difference.mean, None if high is None else -high, None if low is None else -low, difference.prompts
    )


def _explain_states(assessed: Sequence[Assessed[Entrant]]) -> list[str]:
    sentences = []
    for one in assessed:
        if not one.usable:
            sentences.append(f"{one.candidate.letter} is {one.state}: {explain_state(one)}")
        elif one.state in STATES:
            sentences.append(f"{one.candidate.letter} {STATES[one.state]}.")
    return sentences


def _list_words(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
