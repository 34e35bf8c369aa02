"""The drawn pictures that are nearest to training pictures, each beside the one that it is nearest to.

A share of copies says how many; whether they are copies is seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.evaluate.page_pictures import describe_shot, make_data_uri
from lorakiln.metrics import MetricInputs, Shot
from lorakiln.metrics.copies import compute_nearest_pair

MOST = 6


@dataclass(frozen=True)
class NearestPair:
    """A drawn picture and the training picture that it is nearest to.

    Attributes:
        trained: the training picture's file.
        likeness: their cosine, by the model that tells likeness.
        bar: the cosine beyond which it is a copy; None where there are too few training pictures to say.
    """

    shot: Shot
    trained: Path
    likeness: float
    bar: float | None

    @property
    def is_copy(self) -> bool:
        return self.bar is not None and self.likeness > self.bar


def find_nearest_pairs(inputs: MetricInputs, weight: float, adapter: str = "", most: int = MOST) -> list[NearestPair]:
    """The nearest first; of several that are nearest to one training picture the nearest alone, so that they differ.

    Args:
        weight: of the pictures that are looked at, drawn with their trigger words.
        adapter: whose they are, where several drew.
    """
    bar = compute_nearest_pair(inputs.trained_looks)
    rows = [
        row
        for row, shot in enumerate(inputs.shots)
        if shot.with_trigger and shot.weight == weight and shot.adapter == adapter
    ]
    if not rows or not len(inputs.trained_looks):
        return []
    alike = inputs.drawn_looks[rows] @ inputs.trained_looks.T
    found: dict[Path, NearestPair] = {}
    for row, cosines in sorted(zip(rows, alike, strict=True), key=lambda one: (-one[1].max(), one[0])):
        place = int(cosines.argmax())
        trained = inputs.trained[place]
        found.setdefault(trained, NearestPair(inputs.shots[row], trained, float(cosines[place]), bar))
    return list(found.values())[:most]


def make_cards(pairs: Iterable[NearestPair], samples: Path) -> list[dict[str, Any]]:
    """For a page: both pictures, and what is to be said of them."""
    return [
        {
            "drawn": make_data_uri(samples / pair.shot.file_name, f"drawn, {describe_shot(pair.shot)}"),
            "trained": make_data_uri(pair.trained, f"training picture {pair.trained.name}"),
            "text": f"{pair.shot.text}, seed {pair.shot.seed}; {pair.trained.name}",
            "likeness": f"{pair.likeness:.3f}",
            "is_copy": pair.is_copy,  # a dict has a method "copy", which a template would take
        }
        for pair in pairs
    ]


def describe_bar(pairs: Sequence[NearestPair]) -> str:
    """What makes a copy, in a sentence."""
    bar = pairs[0].bar if pairs else None
    if bar is None:
        return "There are too few training pictures to say what a copy is."
    return f"A copy is nearer than any two different training pictures are to each other, {bar:.3f}."
