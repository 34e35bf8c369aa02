"""Resumable checkpoints in a folder of their own, named by the run's fingerprint.

A folder holds what the run is (identity.json), the last two checkpoints, and `work`: the adapters and samples made
so far. A checkpoint stands for everything up to its step and names what `work` held of it, so whatever else is there
is thrown away on resuming.

The state after the last step is kept once the run is in its place (and `finished` says so) where a longer run begins as
this one did; the same run, started again, does not use it and trains.

A run of fewer steps than a checkpoint here stands for has a folder of its own below, `until-<steps>`, for as long as it
is not finished, and leaves what is here as it is.
"""

import hashlib
import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock, FileLock, Timeout
from torch import Tensor

from lorakiln.artefacts.fsync import sync_folder
from lorakiln.artefacts.json_files import write_json
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError

KEPT = 2
POLL = 0.5  # seconds between two looks whether another job has ended
FINISHED = "finished"
AVERAGES = "averages"  # beside the saved adapters, those of their moving averages


@dataclass
class TrainingState:
    """Everything that the steps to come depend on, and the record of those done.

    Attributes:
        step: optimizer steps done.
        tensors: "adapter/<name>", float32; "fixed/<name>", what it began with and never trains; "average/<name>" where
            there is one (`train.ema`); "loss_scale/..." in fp16; and, as `optim.state` names them, the optimizer's.
        records: JSON-able; the rows of the metrics so far, what was made of them, where.
    """

    step: int
    tensors: dict[str, Tensor]
    records: dict[str, Any] = field(default_factory=dict)


class CheckpointFolder:
    """The checkpoints of one run, held by one process at a time.

    Attributes:
        folder: of the checkpoints.
        work: what was made so far.
        longer: the last step that another, longer run has saved beside this one; None if there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._lock: BaseFileLock | None = None
        self.longer: int | None = None
        self._take(folder)

    def _take(self, folder: Path) -> None:
        self.folder, self.work, self._finished = folder, folder / "work", folder / FINISHED

    def open(self, identity: dict[str, Any], dataset: str = "", wait: bool = False) -> None:
        """Make the folder and lock it (the kernel frees a dead process's lock).

        Args:
            identity: what the run is.
            dataset: the data's name, for people.
            wait: until another process that trains the same run has ended.

        Raises:
            UserError: another process trains the same run.
        """
        # Whichever thread closes the folder frees it.
        lock = self._lock = FileLock(self.folder / "lock", thread_local=False)
        waiting = False
        while not self._locks(lock):
            if not wait:
                raise UserError(
                    "another process is training with exactly these settings and data",
                    where=self.folder,
                    fix="wait for it, or stop it and start again: this run then goes on from its checkpoint",
                )
            if not waiting:
                print("waiting for another job, which trains with the same settings and data", flush=True)
            waiting = True
            time.sleep(POLL)
        # What a killed process was writing: each has a name of its own, so that nothing else removes it.
        for left in self.folder.rglob("*.part"):
            left.unlink()
        write_json(self.folder / "identity.json", {**identity, "dataset": dataset})

    def _locks(self, lock: BaseFileLock) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except (Timeout, FileNotFoundError):  # held, or the one who held it is removing the folder
            return False
        return True

    @property
    def finished(self) -> bool:
        """Whether the last state here is of a run that is in its place: who goes on from it makes another LoRA."""
        return self._finished.exists()

    def leave_longer(self, end: int) -> None:
        """If what is here goes beyond `end` steps, work below from now on, and begin there with a copy of the newest
        state that this run can go on from.
        """
        beyond = [_step(path) for path in self.files() if _step(path) > end]
        if not beyond:
            return
        here, self.longer = CheckpointFolder(self.folder), beyond[-1]
        self._take(self.folder / f"until-{end}")
        self.folder.mkdir(exist_ok=True)
        if not self.files() and (state := here.newest(end)):
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir()
            for name in state.records["made"]:
                # What the longer run has made since then may have taken the place of some (`train.keep_last`).
                if (here.work / name).exists():
                    _copy(here.work / name, self.work / name)
            sync_folder(self.work)
            # Last: it counts on what was made.
            self._write(state)

    def save(self, state: TrainingState) -> Path:
        """Write a checkpoint, whole or not at all, and drop all but the last two.

        Raises:
            UserError: the disk is full, or the weights are not finite; the older checkpoints are intact.
        """
        if broken := find_not_finite(state.tensors):
            kept = self.files()
            raise UserError(
                f"{broken} is not finite after step {state.step}; nothing was saved"
                + (f"; the last good checkpoint, {kept[-1]}, is kept" if kept else ""),
                fix="lower train.optimizer.lr, or set train.max_grad_norm",
            )
        path = self._write(state)
        for old in self.files()[:-KEPT]:
            old.unlink()
        return path

    def _write(self, state: TrainingState) -> Path:
        path = self.folder / f"step-{state.step:08d}.safetensors"
        metadata = {"step": str(state.step), "records": json.dumps(state.records, sort_keys=True)}
        metadata["sha256"] = compute_digest(state.tensors, metadata)
        save_tensors(path, state.tensors, metadata)
        return path

    def files(self) -> list[Path]:
        """The checkpoints, oldest first; nothing else that happens to be named like one."""
        return sorted(path for path in self.folder.glob("step-*.safetensors") if path.is_file() and _is_numbered(path))

    def newest(self, end: int) -> TrainingState | None:
        """The newest good checkpoint of a run of `end` steps; says (on stderr) what is wrong with newer ones.

        A finished run's last is for longer runs alone.
        """
        for path in reversed(self.files()):
            if _step(path) > end or (_step(path) == end and self.finished):
                continue
            try:
                return read_checkpoint(path)
            except UserError as error:
                print(f"warning: {error.where}: {error.what}; going back to the one before", file=sys.stderr)
                path.unlink()
        return None

    def made(self) -> list[str]:
        """The adapters and samples so far, as paths below `work`."""
        return sorted(path.relative_to(self.work).as_posix() for path in self.work.glob("*/step-*"))

    def adapters(self) -> dict[int, Path]:
        """The saved adapters so far, by their steps, in order."""
        files = sorted((self.work / "adapters").glob("step-*.safetensors"))
        return {_step(path): path for path in files}

    def drop_adapter(self, step: int) -> None:
        """Remove what was saved of a step's adapter."""
        for path in self.work.glob(f"*/step-{step:08d}.safetensors"):
            path.unlink()

    def forget_after(self, step: int, made: list[str]) -> None:
        """Remove what is left of later steps: all adapters and samples but `made`, and checkpoints after `step`."""
        for path in self.work.glob("*/step-*"):
            if path.relative_to(self.work).as_posix() not in made:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.files():
            if _step(path) > step:
                path.unlink()
        self._finished.unlink(missing_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)

    def finish(self, step: int) -> None:
        """The run is in its place: keep the state after its last step, for a longer run to go on from.

        Beside a longer run's nothing is kept.
        """
        if self.longer:
            self.delete()
            return
        self._finished.touch()
        for path in self.files():
            if _step(path) != step:
                path.unlink()

    def delete(self) -> None:
        """The run is finished and in its place: nothing here is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let another process, or the next job of this one, have the folder."""
        if self._lock:
            self._lock.release()


def read_checkpoint(path: Path) -> TrainingState:
    """One checkpoint.

    Raises:
        UserError: it is damaged, or something in it is not finite.
    """
    tensors, metadata = load_tensors(path)
    if metadata.pop("sha256", None) != compute_digest(tensors, metadata):
        raise UserError("a damaged checkpoint", where=path, fix="delete it")
    if broken := find_not_finite(tensors):
        raise UserError(f"a checkpoint whose {broken} is not finite", where=path, fix="delete it")
    return TrainingState(int(metadata["step"]), tensors, json.loads(metadata["records"]))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _is_numbered(path: Path) -> bool:
    return path.stem.removeprefix("step-").isdecimal()


def find_not_finite(tensors: dict[str, Tensor]) -> str:
    """The name of the first tensor, in the names' order, that holds NaN or infinity; "" if none does."""
    return next((name for name in sorted(tensors) if not torch.isfinite(tensors[name]).all()), "")


def compute_digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 over the metadata and the tensors' names and bytes, in the names' order."""
    total = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        total.update(name.encode())
        # By way of uint8, since numpy has no bfloat16.
        total.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
