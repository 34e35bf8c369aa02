"""Whether a picture is a copy: nearer to a training picture than any two training pictures are to each other.

What is learned by heart comes back, where pictures are few and steps are many (arXiv 2212.03860).
A threshold in CLIP's cosines would mean another thing for every dataset, so the dataset sets it: its own two nearest
different pictures.
"""

from collections.abc import Sequence

import numpy as np

from lorakiln.metrics import Metric, MetricInputs, name_likeness_model
from lorakiln.schema.evaluate import EvaluateSettings

TWINS = 0.995  # training pictures as near as this are one picture twice, and say nothing of how unlike two are
FEWEST = 4  # training pictures, below which no two of them say what "near" is


class Copies(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None] | None:
        """1 for a copy, 0 for none; None where the training pictures are too few to say."""
        nearest = compute_nearest_pair(inputs.trained_looks)
        if nearest is None:
            return None
        return [float(row.max() > nearest) for row in inputs.drawn_looks @ inputs.trained_looks.T]


def compute_nearest_pair(references: np.ndarray) -> float | None:
    """The largest cosine between two different pictures; None for fewer than FEWEST of them.

    Args:
        references: (M, D) unit embeddings.
    """
    likeness = references @ references.T
    rows, columns = np.triu_indices(len(references), 1)
    pairs = likeness[rows, columns]
    unlike = pairs[pairs < TWINS]
    return float(unlike.max()) if len(references) >= FEWEST and len(unlike) else None


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    name = name_likeness_model(settings)
    return [
        Copies(
            "copies",
            "copies of training pictures",
            f"pictures that {name} finds nearer to a training picture than any two of these are to each other",
            "other",
            fraction=True,
            better="less",
            place=52,
        )
    ]
