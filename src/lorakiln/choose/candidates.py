"""What is chosen among: a saved step at a weight."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorakiln.facts.run import SavedAdapter

TRAINED_AT = 1.0  # the weight at which an adapter is trained


@dataclass(frozen=True, order=True)
class Candidate:
    """A saved step at a weight."""

    step: int
    weight: float

    @property
    def adapter(self) -> str:
        """What its shots call the step's file."""
        return name_adapter(self.step)


def name_adapter(step: int) -> str:
    return f"step{step:08d}"


def space_evenly(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of the items, evenly spaced, the last always among them."""
    if len(items) <= most:
        return list(items)
    return [items[round((place + 1) * len(items) / most) - 1] for place in range(most)]


def list_candidates(adapters: Sequence[SavedAdapter], weights: Sequence[float], most: int) -> list[Candidate]:
    """Every step at every weight (`list_weights`); of many steps some, evenly spaced."""
    steps = space_evenly(sorted(one.step for one in adapters), most)
    return [Candidate(step, weight) for step in steps for weight in list_weights(weights)]


def list_weights(weights: Sequence[float]) -> list[float]:
    """Each once, the lowest first; and 1 where all are greater, for what is too strong may be told by it alone."""
    return sorted({*weights, TRAINED_AT} if min(weights) > TRAINED_AT else set(weights))
