"""Where the recipe works (git-ignored) and where it installs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("LORAKILN_TINY_WORK", ROOT / "cache" / "tiny"))
MODELS = ROOT / "models" / "tiny"
DATA = ROOT / "data" / "raw"


def work(*parts: str) -> Path:
    """A path in the working folder; its parent folder is made."""
    path = WORK.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write one npz; a kill in the middle leaves no half file that looks done."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)
