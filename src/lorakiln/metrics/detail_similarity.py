"""How alike pictures are to the training pictures in their details: patch by patch, not as a whole.

CLIP's embedding of a picture says what it shows; a character whose face is missing is the same character to it. Each
patch of a drawn picture is therefore compared with all patches of the training pictures, wherever they stand, as
defects are found in industrial pictures (PatchCore, arXiv 2106.08265).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lorakiln.metrics import Metric, MetricInputs, name_likeness_model
from lorakiln.metrics.coherence import spread
from lorakiln.schema.evaluate import EvaluateSettings

MOST = 64  # pictures whose patches are held at once: of ViT-L with 256 patches each they take 64 MiB


class DetailSimilarity(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None] | None:
        """The mean over a picture's patches of the cosine to the nearest patch of any training picture."""
        known = [inputs.trained[number] for number in spread(len(inputs.trained), MOST)]
        if not known or not inputs.files:
            return None
        patches = _flatten(inputs.embed_parts(known))
        files: list[Path] = list(inputs.files)
        values: list[float | None] = []
        while files:  # some at a time: patches take a thousand times what a picture's embedding takes
            values += [compute_nearest(one, patches) for one in inputs.embed_parts(files[:MOST])]
            files = files[MOST:]
        return values

    def of_training_pictures(self, inputs: MetricInputs) -> float | None:
        """The mean of the same of each training picture beside the others; None if there is one alone."""
        known = [inputs.trained[number] for number in spread(len(inputs.trained), MOST)]
        if len(known) < 2:
            return None
        parts = inputs.embed_parts(known)
        return float(
            np.mean([compute_nearest(one, _flatten(np.delete(parts, n, axis=0))) for n, one in enumerate(parts)])
        )


def compute_nearest(patches: np.ndarray, known: np.ndarray) -> float:
    """The mean over `patches`, (P, D), of the largest cosine to one of `known`, (K, D)."""
    return float((patches @ known.T).max(axis=1).mean())


def _flatten(parts: np.ndarray) -> np.ndarray:
    return parts.reshape(-1, parts.shape[-1])


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    name = name_likeness_model(settings)
    return [
        DetailSimilarity(
            "detail_similarity",
            "similarity in detail",
            f"mean {name} cosine between each patch of a picture and the nearest of the training pictures' patches",
            "other",
            place=48,
        )
    ]
