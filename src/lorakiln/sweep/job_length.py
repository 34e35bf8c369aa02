"""How many optimizer steps a job will make, so far as its settings and its dataset's folder tell."""

import contextlib
import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.schema.intervals import read_epochs
from lorakiln.schema.train import USUAL_STEPS
from lorakiln.sources import open_source


def count_steps(settings: Mapping[str, Any]) -> int:
    """Of a job's whole settings, as plain dicts; with epochs about as many, since what is held out is not known yet."""
    train = settings.get("train", {})
    if train.get("epochs") is None:
        steps = train.get("steps", 0)
        return USUAL_STEPS if steps is None else int(steps)
    return math.ceil(Fraction(str(train["epochs"])) * _epoch(settings))


def count_saves(settings: Mapping[str, Any]) -> int:
    """How many adapters the job keeps."""
    train = settings.get("train", {})
    steps, every = count_steps(settings), train.get("save_every") or 0
    epochs = read_epochs(every)
    length = Fraction(every) if epochs is None else epochs * _epoch(settings)  # 0: the last alone
    saved = max(1, math.ceil(steps / length)) if length else 1
    if train.get("keep_last"):
        saved = min(saved, train["keep_last"] + 1)
    return saved + bool(train.get("keep_best"))


def _epoch(settings: Mapping[str, Any]) -> Fraction:
    """The steps of an epoch: of the pictures in the dataset's folder, of one picture where nobody can tell."""
    train, raw = settings.get("train", {}), settings.get("paths", {}).get("raw", "")
    pictures = _count_pictures(Path(raw) / settings.get("prepare", {}).get("dataset", ""))
    return Fraction(max(1, pictures) * train.get("repeats", 1), train.get("batch_size", 1))


@cache
def _count_pictures(folder: Path) -> int:
    # What is wrong with the folder the job itself will say.
    with contextlib.suppress(UserError, OSError):
        return len(open_source(folder).scan().pictures)
    return 0
