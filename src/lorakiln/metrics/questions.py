"""Zero-shot questions to CLIP, `evaluate.classify`: which of these labels is the picture?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lorakiln.metrics import Metric, MetricInputs, Prompt
from lorakiln.schema.evaluate import Classification, EvaluateSettings


@dataclass(frozen=True)
class Right(Metric):
    """Whether CLIP picks the label that is looked for."""

    question: Classification = field(kw_only=True)

    def of_pictures(self, inputs: MetricInputs) -> list[float | None]:
        """1 where it does, 0 where it does not; None where the prompt names no label."""
        labels = self.question.labels
        best = (inputs.embeddings @ inputs.embed_texts(labels).T).argmax(axis=1)
        looked_for = [find_expected_label(self.question, shot.prompt) for shot in inputs.shots]
        pairs = zip(best, looked_for, strict=True)
        return [None if label is None else float(labels[index] == label) for index, label in pairs]


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    return [_right(question) for question in settings.classify] if settings is not None else []


def _right(question: Classification) -> Right:
    name, spoken = f"right_{question.name}", question.name.replace("_", " ")
    if question.answer is not None:
        meaning = f"pictures in which CLIP sees “{question.answer}” among {len(question.labels)} labels"
        return Right(name, f"{spoken}: {question.answer}", meaning, "learned", True, place=10, question=question)
    meaning = f"pictures in which CLIP sees the {spoken} that the prompt names, among {len(question.labels)}"
    return Right(name, f"right {spoken}", meaning, "prompt", True, place=20, question=question)


def find_expected_label(question: Classification, prompt: Prompt) -> str | None:
    """The label looked for: the given answer, else the longest label whose words stand in the prompt, else None."""
    if question.answer is not None:
        return question.answer
    held = [label for label in question.labels if _stands_in(label, prompt.text)]
    return max(held, key=len, default=None)


def _stands_in(label: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text, flags=re.IGNORECASE) is not None
