"""How well pictures obey: CLIP's cosine between a picture and its prompt (CLIPScore, arXiv 2104.08718, unclipped)."""

from collections.abc import Sequence

from lorakiln.metrics import OBEDIENCE, Metric, MetricInputs
from lorakiln.schema.evaluate import EvaluateSettings


class ClipScore(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None]:
        """100 cos(picture, prompt without its trigger words)."""
        judged = sorted({shot.prompt.judged for shot in inputs.shots} - {""})
        text_rows = dict(zip(judged, inputs.embed_texts(judged), strict=True)) if judged else {}
        texts = [text_rows.get(shot.prompt.judged) for shot in inputs.shots]
        pairs = zip(inputs.embeddings, texts, strict=True)
        return [None if text is None else 100 * float(picture @ text) for picture, text in pairs]


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    # It falls for whatever the bare prompt does not name, the subject first of all: a question says more.
    asked = settings is not None and any(question.answer is None for question in settings.classify)
    return [
        ClipScore(
            "clip_score",
            "CLIP score (text)",
            "100 × CLIP cosine between a picture and its prompt without the trigger words",
            "other" if asked else "prompt",
            digits=2,
            board=OBEDIENCE,
            place=30,
        )
    ]
