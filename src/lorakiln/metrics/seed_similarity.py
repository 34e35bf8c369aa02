"""How alike the pictures of one prompt are from seed to seed."""

from collections.abc import Sequence

import numpy as np

from lorakiln.metrics import Metric, Scored
from lorakiln.metrics._cosines import compute_mean_cosine
from lorakiln.schema.evaluate import EvaluateSettings


class SeedSimilarity(Metric):
    def of_prompt(self, pictures: Sequence[Scored]) -> float | None:
        """Mean cosine over all pairs of seeds; None for one seed alone."""
        return compute_mean_cosine(np.stack([item.embedding for item in pictures])) if len(pictures) > 1 else None


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    if settings is not None and len(set(settings.seeds)) < 2:
        return []
    return [
        SeedSimilarity(
            "seed_similarity",
            "likeness between seeds",
            "mean CLIP cosine between pictures of one prompt; higher is less varied",
            "other",
            place=40,
        )
    ]
