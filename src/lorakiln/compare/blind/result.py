"""How often each file won, and how often the measures say what somebody chose."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lorakiln.compare.blind.answers import EQUAL, LEFT
from lorakiln.compare.blind.questions import Question
from lorakiln.compare.entrants import Entrant
from lorakiln.console.counts import format_count
from lorakiln.worth.assessment import Assessed
from lorakiln.worth.intervals import Estimate, compute_wilson_fraction


@dataclass(frozen=True)
class Result:
    """What the answers say so far.

    Attributes:
        won: by the entrant's place, the share of its comparisons that it won; equal ones count half. Without those that
            were asked about nothing yet.
        agreeing: the share of the answers, equal ones left out, in which the chosen file is the one that is worth more
            by the measures; None if there is none.
        answers, equal: how many there are, and how many of them say that there is no difference.
    """

    won: dict[int, Estimate]
    agreeing: Estimate | None
    answers: int
    equal: int


def sum_up(questions: Sequence[Question], given: Mapping[str, str], assessed: Sequence[Assessed[Entrant]]) -> Result:
    """The result; intervals are Wilson's with each prompt as one draw, since the seeds of a prompt are alike.

    Args:
        given: the chosen side by the question's key.
        assessed: by the entrants' places.
    """
    won: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    agreed: dict[int, list[float]] = defaultdict(list)
    equal = 0
    for question in questions:
        side = given.get(question.key)
        if side is None:
            continue
        prompt, (left, right) = question.left.prompt.index, question.places
        share = 0.5 if side == EQUAL else float(side == LEFT)
        won[left][prompt].append(share)
        won[right][prompt].append(1 - share)
        if side == EQUAL:
            equal += 1
            continue
        better, other = (left, right) if side == LEFT else (right, left)
        if (gap := assessed[better].worth.mean - assessed[other].worth.mean) != 0:
            agreed[prompt].append(float(gap > 0))
    return Result(
        {place: _estimate(groups) for place, groups in sorted(won.items())},
        _estimate(agreed) if agreed else None,
        sum(key.key in given for key in questions),
        equal,
    )


def _estimate(groups: Mapping[int, Sequence[float]]) -> Estimate:
    return compute_wilson_fraction(np.array([np.mean(group) for group in groups.values()]))


def describe_result(result: Result, assessed: Sequence[Assessed[Entrant]]) -> list[str]:
    """In sentences, the file that won most often first; the measures last."""
    if not result.answers:
        return ["nothing was answered"]
    lines = [f"{format_count(result.answers, 'answer')}, {result.equal} of them equal"]
    for place, share in sorted(result.won.items(), key=lambda one: (-one[1].mean, one[0])):
        entrant = assessed[place].candidate
        lines.append(f"{entrant.letter} ({entrant.title}) won {_format(share)}, worth {assessed[place].worth.mean:.2f}")
    if result.agreeing is None:
        return [*lines, "whether the measures agree cannot be told: no picture was preferred to one of another worth"]
    return [*lines, f"the measures agree with {_format(result.agreeing)} of what was preferred"]


def _format(share: Estimate) -> str:
    return f"{share.mean:.0%} ({share.low:.0%} to {share.high:.0%})"
