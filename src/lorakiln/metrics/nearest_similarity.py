"""How alike pictures are to the training picture that each is most like: copies are found by it."""

from collections.abc import Sequence

from lorakiln.metrics import Metric, MetricInputs, name_likeness_model
from lorakiln.schema.evaluate import EvaluateSettings


class NearestSimilarity(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None]:
        """The cosine to the nearest training picture."""
        return [float(row.max()) for row in inputs.drawn_looks @ inputs.trained_looks.T]


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    return [
        NearestSimilarity(
            "nearest_similarity",
            "similarity to the nearest training picture",
            f"{name_likeness_model(settings)} cosine to the nearest training picture; close to 1 may mean copying",
            "other",
            place=50,
        )
    ]
