"""Cosines of unit embeddings."""

from collections.abc import Mapping

import numpy as np


def compute_mean_cosine(embeddings: np.ndarray) -> float:
    """Mean cosine between two different ones, over all pairs; 1: all alike.

    Args:
        embeddings: (S, D) unit embeddings, S >= 2.
    """
    count = len(embeddings)
    total = float((embeddings @ embeddings.T).sum()) - float((embeddings**2).sum())
    return total / (count * (count - 1))


def compute_seed_distance(pictures: Mapping[tuple[int, int], np.ndarray]) -> float | None:
    """How far pictures of one prompt are from each other: the mean of 1 - cosine; None if no prompt has two.

    Args:
        pictures: (D,) unit embeddings by prompt and seed.
    """
    groups: dict[int, list[np.ndarray]] = {}
    for (prompt, _), embedding in pictures.items():
        groups.setdefault(prompt, []).append(embedding)
    apart = [1 - compute_mean_cosine(np.stack(group)) for group in groups.values() if len(group) > 1]
    return float(np.mean(apart)) if apart else None
