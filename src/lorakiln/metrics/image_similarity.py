"""How alike pictures are to the training pictures (CLIP-I, arXiv 2208.12242)."""

from collections.abc import Sequence

from lorakiln.metrics import LIKENESS, Metric, MetricInputs, name_likeness_model
from lorakiln.metrics._cosines import compute_mean_cosine
from lorakiln.schema.evaluate import EvaluateSettings


class ImageSimilarity(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None]:
        """The mean cosine to all training pictures, those that were held out among them."""
        return [float(row.mean()) for row in inputs.drawn_looks @ inputs.trained_looks.T]

    def of_training_pictures(self, inputs: MetricInputs) -> float | None:
        """Mean cosine between two different training pictures; None if there is one alone."""
        return compute_mean_cosine(inputs.trained_looks) if len(inputs.trained_looks) > 1 else None


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    return [
        ImageSimilarity(
            "image_similarity",
            "similarity to the training pictures",
            f"mean {name_likeness_model(settings)} cosine between a picture and all training pictures",
            "learned",
            board=LIKENESS,
            place=0,
        )
    ]
