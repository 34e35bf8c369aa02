"""What earlier runs took, and what a job with other settings may take by that: time, and space on the disk."""

import contextlib
import fnmatch
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lorakiln.artefacts.json_files import read_json
from lorakiln.schema.choose import ChooseSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.sweep.job_length import count_saves, count_steps
from lorakiln.sweep.jobs import STATE, Job

MOST = 40  # of the newest runs, from which is judged
# A checkpoint holds the weights and the optimizer's state, mostly two moments; the last one of a run is kept.
CHECKPOINT = 3
# A step of denoising runs the network forwards twice (with and without the prompt); a picture of training costs about
# three times as much as once forwards.
STEP = 2 / 3
WANDB = Path("wandb")


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: what it did, and what that took.

    Attributes:
        speed: pictures/s of training.
        evaluation: seconds of it.
        rest: seconds beside training and evaluation: loading, sampling, choosing, exporting.
        drawn: see `count_drawing_steps`; chosen: see `count_choosing_steps`.
        weights: bytes of LoRA files, `saved` (see there) in all; of one checkpoint in cache/ too.
        report: bytes of the evaluation's folder.
        others: bytes of everything else, in wandb/ too.
    """

    speed: float
    evaluation: float
    rest: float
    drawn: int
    chosen: int
    weights: int
    saved: float
    report: int
    others: int

    def seconds(self, settings: dict[str, Any]) -> float:
        """What a job may take from end to end."""
        choosing = (count_choosing_steps(settings) - self.chosen) * STEP / self.speed
        evaluation = self._evaluation(count_drawing_steps(settings))
        return count_pictures(settings) / self.speed + max(0.0, self.rest + choosing) + evaluation

    def _evaluation(self, steps: int) -> float:
        """Seconds: those of this run, and those that the further steps of denoising take. Not all of its time went with
        their number, since models were loaded too.
        """
        ends = sorted((self.evaluation, self.evaluation * steps / self.drawn))
        return min(max(self.evaluation + (steps - self.drawn) * STEP / self.speed, ends[0]), ends[1])

    def disk(self, settings: dict[str, Any]) -> float:
        """Bytes that a job may write."""
        return (
            self.weights * count_saved_weights(settings) / self.saved
            + self.report * count_drawing_steps(settings) / self.drawn
            + self.others
        )


@dataclass(frozen=True)
class Throughput:
    """How runs with one base model went here. Of those that drew as many pictures as a job, or kept as many weights, if
    there are such, and else of all, the median counts.
    """

    runs: Sequence[FinishedRun]

    def seconds(self, settings: dict[str, Any]) -> float:
        alike = [run for run in self.runs if run.drawn == count_drawing_steps(settings)]
        return statistics.median(run.seconds(settings) for run in alike or self.runs)

    def disk(self, settings: dict[str, Any]) -> float:
        alike = [
            run
            for run in self.runs
            if (run.drawn, run.saved) == (count_drawing_steps(settings), count_saved_weights(settings))
        ]
        return statistics.median(run.disk(settings) for run in alike or self.runs)


@dataclass(frozen=True)
class CostEstimate:
    """Of several jobs.

    Attributes:
        seconds: one after the other.
        disk: bytes.
        runs: by how many was judged.
        unknown: how many jobs are not in it, since no run with their base model has finished.
    """

    seconds: float
    disk: float
    runs: int
    unknown: int


def estimate_cost(jobs: Sequence[Job], folder: Path) -> CostEstimate:
    """What the jobs may take, by the newest finished runs below `folder` with the same base models."""
    paces = {model: measure_throughput(folder, model) for model in {_model(job.settings) for job in jobs}}
    known = [(job.settings, one) for job in jobs if (one := paces[_model(job.settings)])]
    return CostEstimate(
        sum(one.seconds(settings) for settings, one in known),
        sum(one.disk(settings) for settings, one in known),
        sum(len(one.runs) for one in paces.values() if one),
        len(jobs) - len(known),
    )


def measure_throughput(folder: Path, model: str | None) -> Throughput | None:
    """The pace of the newest finished runs below `folder` with this base model; None if there is none."""
    runs = list(_finished(folder, model))
    return Throughput(runs) if runs else None


def count_pictures(settings: dict[str, Any]) -> int:
    """On which is trained."""
    train = settings.get("train", {})
    return count_steps(settings) * int(train.get("batch_size", 1))


def count_drawing_steps(settings: dict[str, Any]) -> int:
    """Steps of denoising in the evaluation; 1 where the settings do not say."""
    try:
        asked = EvaluateSettings.model_validate(settings.get("evaluate")).reduced()
    except ValidationError:
        return 1
    seeds, weights = len(set(asked.seeds)), len(set(asked.weights))
    shots = len(asked.prompts) * weights
    grid = min(asked.grid_prompts, len(asked.prompts))
    shots += grid * (len(set(asked.between) - set(asked.weights)) + weights * asked.without_trigger)
    return shots * seeds * asked.steps


def is_choosing(settings: dict[str, Any]) -> bool:
    """Whether `choose` draws for a job."""
    wanted = settings.get("choose", {}).get("checkpoints", "auto")
    return bool(wanted != "none" and (wanted != "auto" or count_saves(settings) > 1))


def count_choosing_steps(settings: dict[str, Any]) -> int:
    """Steps of denoising in the choice of a saved step; 0 where nothing is drawn for it, or the settings do not say."""
    try:
        asked = EvaluateSettings.model_validate(settings.get("evaluate")).reduced()
        choose = ChooseSettings.model_validate(settings.get("choose"))
    except ValidationError:
        return 0
    if not is_choosing(settings):
        return 0
    # They load torch: a sweep whose jobs choose nothing begins without it.
    from lorakiln.choose.candidates import Candidate, list_weights
    from lorakiln.choose.rounds import Rounds

    saves = 1 if choose.checkpoints in ("last", "best") else min(count_saves(settings), choose.most_steps)
    candidates = [Candidate(step, weight) for step in range(saves) for weight in list_weights(choose.weights)]
    rounds = Rounds(candidates, min(len(asked.prompts), choose.most_prompts), choose.checkpoints == "auto")
    bare = min(asked.grid_prompts, len(asked.prompts)) * asked.without_trigger
    return rounds.count_pictures(min(len(set(asked.seeds)), choose.most_seeds), bare) * asked.steps


def count_saved_weights(settings: dict[str, Any]) -> float:
    """How many weights a job keeps, in units that all jobs with the same targets share: rank times LoRA files."""
    train = settings.get("train", {})
    # The exported ones, and the last checkpoint.
    return float(train.get("adapter", {}).get("rank", 1)) * (count_saves(settings) + 2 + CHECKPOINT)


def measure_folder(folder: Path, pattern: str = "*") -> int:
    """What a folder's files take on the disk, about."""
    return sum(found.st_size for _, found in _list_present(folder, pattern))


def _list_present(folder: Path, pattern: str) -> list[tuple[Path, os.stat_result]]:
    """Files whose names match, while other processes may remove some: `rglob` ends with an error then."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in fnmatch.filter(names, pattern):
            with contextlib.suppress(FileNotFoundError):
                found.append((path := Path(parent, name), path.stat()))
    return found


def _finished(folder: Path, model: str | None) -> Iterator[FinishedRun]:
    """The newest first."""
    files = [one for one in _list_present(folder, "provenance.json") if one[0].parent.name == "run"]
    for path, _ in sorted(files, key=lambda one: -one[1].st_mtime)[:MOST]:
        run = path.parent.parent
        if not (run / "resolved.yaml").is_file():
            continue
        settings, where = yaml.safe_load((run / "resolved.yaml").read_text("utf-8")), read_json(path)
        # A run that went on from a checkpoint may have trained no step here.
        if _model(settings) == model and where.get("steps_here") and where.get("pictures_per_second"):
            yield _read(run, settings, where)


def _read(run: Path, settings: dict[str, Any], where: dict[str, Any]) -> FinishedRun:
    steps = where["steps_here"] / where["steps_per_second"]
    trained, exported, evaluated = (
        path.stat().st_mtime if path.is_file() else None
        for path in (run / "run/provenance.json", run / "lora/facts.json", run / "report/metrics.json")
    )
    after = evaluated - trained if evaluated and trained else 0.0
    whole = read_json(run / STATE).get("seconds", 0.0) if (run / STATE).is_file() else 0.0
    # A run that was none of a sweep's tells only what its training took.
    beside = max(0.0, (whole or where["seconds"] + max(0.0, after)) - steps)
    evaluation = min(beside, max(0.0, evaluated - exported)) if evaluated and exported else 0.0
    adapters, report = measure_folder(run, "*.safetensors"), measure_folder(run / "report")
    largest = max((path.stat().st_size for path in run.glob("run/adapters/*.safetensors")), default=0)
    return FinishedRun(
        where["pictures_per_second"],
        evaluation,
        beside - evaluation,
        count_drawing_steps(settings),
        count_choosing_steps(settings),
        adapters + CHECKPOINT * largest,
        count_saved_weights(settings),
        report,
        measure_folder(run) - adapters - report + _tracked(run),
    )


def _tracked(run: Path) -> int:
    """Bytes that W&B keeps of a run in this project."""
    path = run / "run/tracker.json"
    found = read_json(path) if path.is_file() else {}
    name = found.get("id") if found.get("kind") == "wandb" else None
    return sum(measure_folder(folder) for folder in WANDB.glob(f"*run-*-{name}")) if name else 0


def _model(settings: dict[str, Any]) -> str | None:
    path: str | None = settings.get("model", {}).get("path")
    return path
