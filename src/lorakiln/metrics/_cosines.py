"""Cosines of unit embeddings."""

import numpy as np


def compute_mean_cosine(embeddings: np.ndarray) -> float:
    """Mean cosine between two different ones, over all pairs; 1: all alike.

    Args:
        embeddings: (S, D) unit embeddings, S >= 2.
    """
    count = len(embeddings)
    total = float((embeddings @ embeddings.T).sum()) - float((embeddings**2).sum())
    return total / (count * (count - 1))
