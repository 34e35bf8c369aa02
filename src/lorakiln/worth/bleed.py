"""How far a LoRA's pictures move where nobody asked for it, and what that makes of its state."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lorakiln.metrics import Scored
from lorakiln.worth.assessment import Assessed, Drawn
from lorakiln.worth.intervals import Estimate, compute_bootstrap_mean

BLEED = "bleed"  # the metric's name
# Prompts without the trigger words that move so far, of the way to another seed's picture, are another picture's.
BLED = 0.5


def estimate_bleed(scored: Sequence[Scored]) -> Estimate | None:
    """How far pictures without the trigger words are from the base's, see `metrics.bleed`; the interval is bootstrapped
    over prompts. None where none were drawn.
    """
    groups: dict[int, list[float]] = defaultdict(list)
    for item in scored:
        if (value := item.values.get(BLEED)) is not None:
            groups[item.shot.prompt.index].append(value)
    return compute_bootstrap_mean(np.array([np.mean(group) for group in groups.values()])) if groups else None


def add_bleed(assessed: Assessed[Drawn], bleed: Estimate | None) -> Assessed[Drawn]:
    """The same with its bleed; "bled" instead of "good" where that is half or more. A worse state stays."""
    if bleed is not None and bleed.mean >= BLED and assessed.state == "good":
        assessed = replace(assessed, state="bled")
    return replace(assessed, bleed=bleed)


def describe_bleed(bleed: Estimate) -> str:
    """A sentence that says how much, and what helps."""
    return (
        f"It bleeds: without the trigger words its pictures are {bleed.mean:.0%} as far from the base's as those of "
        "another seed are. Captions that name all else that is to be seen, regularisation pictures or fewer steps help."
    )
