"""What CLIP says of each picture: likeness to the training pictures and to the prompt, and zero-shot answers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lorakiln.evaluate.plan import Prompt, Shot
from lorakiln.schema.evaluate import Classification

Embed = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Scored:
    """A drawn picture with its scores.

    Attributes:
        embedding: (D,) CLIP's unit embedding.
        values: score by name; None where the question does not apply to the prompt.
    """

    shot: Shot
    embedding: np.ndarray
    values: dict[str, float | None]


def score_pictures(
    shots: Sequence[Shot],
    embeddings: np.ndarray,
    references: np.ndarray,
    embed_texts: Embed,
    classify: Sequence[Classification],
) -> list[Scored]:
    """Score every picture.

    clip_score is 100 cos(picture, prompt without its trigger words) (CLIPScore, arXiv 2104.08718, unclipped);
    image_similarity the mean cosine to all training pictures (CLIP-I, arXiv 2208.12242); nearest_similarity the
    cosine to the nearest one; right_<name> 1 where zero-shot picks the looked-for label, else 0.

    Args:
        embeddings: (N, D) unit embeddings of the shots' pictures.
        references: (M, D) unit embeddings of the training pictures.
        embed_texts: texts -> (T, D) unit embeddings.
    """
    judged = sorted({shot.prompt.judged for shot in shots} - {""})
    text_rows = dict(zip(judged, embed_texts(judged), strict=True)) if judged else {}
    likeness = embeddings @ references.T
    answers = {question.name: _answers(question, embeddings, embed_texts) for question in classify}
    scored = []
    for row, shot in enumerate(shots):
        text = text_rows.get(shot.prompt.judged)
        values: dict[str, float | None] = {
            "clip_score": None if text is None else 100 * float(embeddings[row] @ text),
            "image_similarity": float(likeness[row].mean()),
            "nearest_similarity": float(likeness[row].max()),
        }
        for question in classify:
            looked_for = expected_label(question, shot.prompt)
            right = answers[question.name][row] == looked_for
            values[f"right_{question.name}"] = None if looked_for is None else float(right)
        scored.append(Scored(shot, embeddings[row], values))
    return scored


def _answers(question: Classification, embeddings: np.ndarray, embed_texts: Embed) -> list[str]:
    best = (embeddings @ embed_texts(question.labels).T).argmax(axis=1)
    return [question.labels[index] for index in best]


def expected_label(question: Classification, prompt: Prompt) -> str | None:
    """The label looked for: the given answer, else the longest label whose words stand in the prompt, else None."""
    if question.answer is not None:
        return question.answer
    held = [label for label in question.labels if _stands_in(label, prompt.text)]
    return max(held, key=len, default=None)


def _stands_in(label: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text, flags=re.IGNORECASE) is not None


def seed_similarity(embeddings: np.ndarray) -> float:
    """Mean cosine between the pictures of one prompt, over all pairs of seeds; 1: all alike.

    Args:
        embeddings: (S, D) unit embeddings, S >= 2.
    """
    count = len(embeddings)
    total = float((embeddings @ embeddings.T).sum()) - float((embeddings**2).sum())
    return total / (count * (count - 1))


def likeness_among(references: np.ndarray) -> float | None:
    """Mean cosine between two different training pictures: the image_similarity that a perfect LoRA would have.

    Args:
        references: (M, D) unit embeddings; None is returned for fewer than two.
    """
    return seed_similarity(references) if len(references) > 1 else None
