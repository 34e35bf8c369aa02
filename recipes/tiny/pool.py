"""The pool of hazed scenes, made once by `haze` when there is a base."""

from __future__ import annotations

import random

import numpy as np

from recipes.tiny.paths import work
from recipes.tiny.scenes import Scene


class Pool:
    """Squashed pictures, uint8 (n, 64, 64, 3), and their labels; empty before there is a base."""

    def __init__(self) -> None:
        parts = [np.load(file) for file in sorted(work("haze").glob("*.npz"))]
        self.labels = [tuple(row) for part in parts for row in part["labels"].tolist()]
        self.pictures = np.concatenate([part["pictures"] for part in parts]) if parts else np.empty((0, 64, 64, 3))

    def draw(self, count: int, rng: random.Random) -> list[Scene]:
        """`count` of them, or none if the pool is empty."""
        chosen = rng.choices(range(len(self.labels)), k=count) if self.labels else []
        return [Scene(self.pictures[i], *self.labels[i]) for i in chosen]
