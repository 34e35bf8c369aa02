"""What makes a run the run it is: the settings, data and base model that decide its weights.

Not part of it: what only logs, validates, samples or saves; devices, micro-batches and threads, which change the
order of summation alone; the number of steps where the learning rate does not depend on it, so that such a run can
go on longer. Each setting says in the schema which of these it is.
"""

import sys
from pathlib import Path
from typing import Any

from lorakiln.artefacts.code_digest import find_code
from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.json_files import read_json
from lorakiln.console.errors import UserError
from lorakiln.lora_files.identity import hash_lora
from lorakiln.optim.schedules import depends_on_total
from lorakiln.schema.marks import Decides, select_decided
from lorakiln.schema.registry import list_modules
from lorakiln.train.assembly import TrainingRun, assemble
from lorakiln.train.caption_draws import counts_epochs
from lorakiln.train.checkpoint import FINISHED, CheckpointFolder
from lorakiln.train.resume import capture


def collect_identity(run: TrainingRun) -> dict[str, Any]:
    """Everything that decides the weights, as one JSON-able dict."""
    settings, begun = run.settings, run.settings.adapter.init_from
    meant = {
        "steps": settings.steps if depends_on_total(settings.scheduler) else None,
        "epochs": None,  # which are counted in steps
        "adapter.init_from": hash_lora(Path(begun)) if begun else None,
        "trainer.precision": run.precision,
        "text_encoders.stop": None
        if settings.text_encoders.stop is None
        else settings.text_encoders.count_steps(settings.total_steps),
    }
    chosen = {**select_decided(settings, Decides.WEIGHTS, meant), "held_out": run.split.held_out}
    if counts_epochs(run.encoded, settings.objective):
        chosen["repeats"] = settings.repeats  # how long an epoch is
    # A folder that was moved is the same base still.
    base = {key: run.family.facts[key] for key in ("family", "hash", "prediction_type")}
    # What trains, and what a checkpoint holds. Of the libraries nothing: a run that goes on with another version warns.
    code = find_code(assemble, capture, CheckpointFolder, type(run.family), *list_modules(settings)).digest
    return {"code": code, "data": run.encoded.index.hash, "base": base, "train": chosen}


def compute_fingerprint(identity: dict[str, Any]) -> str:
    """16 hex digits."""
    return hash_data(identity)[:16]


def list_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line for each difference: "train.optimizer.lr: 0.0001 -> 0.0002"."""
    old, new = _leaves(before), _leaves(now)
    return [
        f"{key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, "absent") != new.get(key, "absent")
    ]


def explain_fresh_start(root: Path, mine: Path, now: dict[str, Any], dataset: str) -> list[str]:
    """What differs from the newest interrupted run on the same data, or on data of the same name; else no line.

    Args:
        root: the folder of all checkpoint folders.
        mine: this run's.
        dataset: the data's name.
    """
    others = [path for path in root.glob("*/identity.json") if path.parent != mine]
    # A run that ended beside us may take its folder away while we look.
    dated = sorted(((path.stat().st_mtime, path) for path in others if path.exists()), reverse=True)
    interrupted = [before for _, path in dated if _is_interrupted(path.parent) and (before := _read(path))]
    same_data = [before for before in interrupted if before.get("data") == now["data"]]
    same_name = [before for before in interrupted if before.get("dataset") == dataset]
    for before in (same_data + same_name)[:1]:
        rest = [key for key in now if key not in ("data", "code")]
        lines = [] if before.get("code") == now["code"] else ["the program: its code that decides what is trained"]
        lines += list_changes({key: before.get(key) for key in rest}, {key: now[key] for key in rest})
        if before.get("data") == now["data"]:
            return lines
        return ["the data: pictures, captions, or settings of prepare, caption, encode or the base model", *lines]
    return []


def _is_interrupted(folder: Path) -> bool:
    return any(folder.glob("step-*.safetensors")) and not (folder / FINISHED).exists()


def _read(path: Path) -> dict[str, Any]:
    # Another run's file: if it is damaged, that is no reason not to train this one.
    try:
        return read_json(path)
    except UserError as error:
        print(f"warning: {error.where}: {error.what}; left alone", file=sys.stderr)
        return {}


def _leaves(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{path}.{key}" if path else key)
    return leaves
