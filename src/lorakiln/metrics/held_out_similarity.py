"""How alike pictures are to pictures that were kept out of the training, which nothing can have learned by heart.

Likeness to the pictures trained on overrates what was memorised (arXiv 2503.06632).
"""

from collections.abc import Sequence

from lorakiln.metrics import Metric, MetricInputs, name_likeness_model
from lorakiln.schema.evaluate import EvaluateSettings


class HeldOutSimilarity(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None] | None:
        """The mean cosine to all pictures that were held out; None altogether if none was."""
        held_out = inputs.select_trained_looks(held_out=True)
        if not len(held_out):
            return None
        return [float(row.mean()) for row in inputs.drawn_looks @ held_out.T]

    def of_training_pictures(self, inputs: MetricInputs) -> float | None:
        """What another picture of the subject has: the mean cosine between those held out and those trained on."""
        held_out, trained = (inputs.select_trained_looks(side) for side in (True, False))
        return float((held_out @ trained.T).mean()) if len(held_out) and len(trained) else None


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    return [
        HeldOutSimilarity(
            "held_out_similarity",
            "similarity to pictures held out",
            f"mean {name_likeness_model(settings)} cosine between a picture and those kept out of the training",
            "other",
            place=5,
        )
    ]
