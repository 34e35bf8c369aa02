"""Whether a picture finds the subject among pictures of its class (Finer-Personalization Rank, arXiv 2512.19026).

A mean cosine says how alike pictures are, and most of that is their class: two dogs, two drawings. So a drawn picture
is a query here, and what it looks through are the training pictures and, as distractors, the base's pictures of the
same prompts, which have the class, the places and the poses, and not the subject.
"""

from collections.abc import Sequence

import numpy as np

from lorakiln.metrics import Metric, MetricInputs, name_likeness_model
from lorakiln.schema.evaluate import EvaluateSettings


class Retrieval(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None] | None:
        """The average precision of each picture's search; None altogether without distractors. A picture of the base's
        does not find itself.
        """
        gallery = _list_distractors(inputs)
        if not gallery or not len(inputs.trained_looks):
            return None
        looks = inputs.drawn_looks
        found, passed = looks @ inputs.trained_looks.T, looks @ looks[gallery].T
        own = {row: place for place, row in enumerate(gallery)}
        return [
            compute_average_precision(found[row], np.delete(passed[row], own[row]) if row in own else passed[row])
            for row in range(len(looks))
        ]

    def of_training_pictures(self, inputs: MetricInputs) -> float | None:
        """The mean of the same of each training picture, which looks for the others; None if there is one alone."""
        gallery, looks = _list_distractors(inputs), inputs.trained_looks
        if not gallery or len(looks) < 2:
            return None
        found, passed = looks @ looks.T, looks @ inputs.drawn_looks[gallery].T
        return float(np.mean([compute_average_precision(np.delete(found[n], n), passed[n]) for n in range(len(looks))]))


def _list_distractors(inputs: MetricInputs) -> list[int]:
    """Which of the drawn pictures are the base's; its pictures without the trigger words show the same once more."""
    return [row for row, shot in enumerate(inputs.shots) if not shot.weight and shot.with_trigger]


def compute_average_precision(wanted: np.ndarray, others: np.ndarray) -> float:
    """The mean, over what is wanted, of the share of wanted ones among all that come no later; 1: all of them first.

    Args:
        wanted, others: (M,) and (K,) cosines to what is looked for by; of equal ones the others come first.
    """
    at_least = (wanted[None] >= wanted[:, None]).sum(axis=1)
    before = (others[None] >= wanted[:, None]).sum(axis=1)
    return float((at_least / (at_least + before)).mean())


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    return [
        Retrieval(
            "retrieval",
            "the subject found among the base's pictures",
            "mean average precision of the training pictures where they and the base's pictures are sorted by "
            f"{name_likeness_model(settings)} cosine to a picture; 1: all of them come first",
            "other",
            place=6,
        )
    ]
