"""A sweep's job: its settings, its folder, its command, and how it ended."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lorakiln.artefacts.atomic_file import remove_abandoned
from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.sweep.job_length import count_steps
from lorakiln.sweep.job_sources import identify_sources, list_differences

STATE = "job.json"
LOG = "job.log"
TRAINED = "trained.json"  # in a run's folder: which training its `run` is of
Status = Literal["finished", "skipped", "failed", "pruned", "stopped"]


@dataclass(frozen=True)
class Job:
    """One setting of the sweep.

    Attributes:
        overrides: as on Hydra's command line, the experiment among them.
        folder: where the job writes, and nothing else does.
        title: what sets it apart from the sweep's other jobs.
        settings: the whole composed config.
        again: run it even if it is finished.
        project: the folder in which its command runs.
        own: the overrides of the title.
    """

    number: int
    overrides: tuple[str, ...]
    folder: Path
    title: str
    settings: dict[str, Any]
    again: bool = False
    project: Path = field(default_factory=Path.cwd)
    own: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """The job as one can also run it by hand."""
        folder = str(self.folder).replace("'", "\\'")
        return [sys.executable, "-m", "train", *self.overrides, f"hydra.run.dir='{folder}'"]

    @property
    def key(self) -> str:
        return hash_data(self.settings)

    @property
    def steps(self) -> int:
        return count_steps(self.settings)

    @property
    def devices(self) -> int:
        """How many GPUs it takes where there are some. One at least: what trains on a CPU still draws on a GPU."""
        trainer = self.settings.get("train", {}).get("trainer", {})
        return 1 if trainer.get("accelerator") == "cpu" else int(trainer.get("devices", 1))

    def forget(self) -> None:
        """Have a job that is to run again train again, and no other job take what was trained here before."""
        if self.again:
            (self.folder / TRAINED).unlink(missing_ok=True)

    def done(self) -> bool:
        """Whether there is nothing left to run."""
        return not self.again and self.finished() and not self.changes()

    def changes(self) -> list[str]:
        """What a finished run here was made of that is another now, such as "base model"; empty if nothing is."""
        if not self.finished():
            return []
        before = self.recorded().get("sources")
        return list_differences(before, self.sources()) if before is not None else ["something that was not recorded"]

    def sources(self) -> dict[str, str | None]:
        """See `sources.sources`."""
        return identify_sources(self.settings)

    def finished(self) -> bool:
        """Whether a run of exactly these settings has ended well here."""
        report = self.folder / "report" / "metrics.json"
        return report.exists() and self.recorded().get("status") == "finished"

    def recorded(self) -> dict[str, Any]:
        """What job.json says of a run of exactly these settings; empty if it says nothing."""
        path = self.folder / STATE
        found = read_json(path) if path.exists() else {}
        return found if found.get("settings") == self.key else {}

    def record(self, status: str, **more: Any) -> None:
        """Write job.json.

        Raises:
            UserError: the disk is full or not writable.
        """
        told = {"status": status, "own": list(self.own), "settings": self.key, "command": self.command}
        remove_abandoned(self.folder / STATE)
        write_json(self.folder / STATE, {**told, **more})


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: "skipped" was finished before, "pruned" was ended early by a search, "stopped" by a signal.
        seconds: 0 if it was skipped.
        reason: empty unless it failed, was pruned or stopped.
    """

    job: Job
    status: Status
    seconds: float = 0.0
    reason: str = ""

    @property
    def has_result(self) -> bool:
        return self.status in ("finished", "skipped")


def read_outcome(job: Job) -> Outcome:
    """The outcome that job.json tells, of a job that this or another process ran."""
    found = job.recorded()
    if job.finished():
        return Outcome(job, "finished", float(found.get("seconds", 0.0)))
    status = found.get("status")
    if status in ("failed", "pruned", "stopped"):
        return Outcome(job, status, float(found.get("seconds", 0.0)), found.get("reason", ""))
    return Outcome(job, "stopped", reason=f"not finished: {json.dumps(status or 'not started')}")
