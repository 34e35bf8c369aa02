"""How alike pictures are to the training pictures (CLIP-I, arXiv 2208.12242)."""

from collections.abc import Sequence

from lorakiln.metrics import LIKENESS, Material, Metric
from lorakiln.metrics._cosines import compute_mean_cosine
from lorakiln.schema.evaluate import EvaluateSettings


class ImageSimilarity(Metric):
    def of_pictures(self, material: Material) -> list[float | None]:
        """The mean cosine to all training pictures."""
        return [float(row.mean()) for row in material.embeddings @ material.references.T]

    def of_training_pictures(self, material: Material) -> float | None:
        """Mean cosine between two different training pictures; None if there is one alone."""
        return compute_mean_cosine(material.references) if len(material.references) > 1 else None


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    return [
        ImageSimilarity(
            "image_similarity",
            "similarity to the training pictures",
            "mean CLIP cosine between a picture and all training pictures",
            "learned",
            board=LIKENESS,
            place=0,
        )
    ]
