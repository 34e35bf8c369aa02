"""The stage `train`: encoded pictures in, a run's folder with adapters, metrics and samples out."""

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lorakiln.artefacts.disk import check_space, telling_disk_trouble
from lorakiln.artefacts.folders import claimed
from lorakiln.artefacts.records import read_json
from lorakiln.console.errors import UserError
from lorakiln.console.progress import progress
from lorakiln.families.reading import Reading
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tracking.tracker import Tracker, start_tracker
from lorakiln.train.assembly import Run, assemble
from lorakiln.train.checkpoint import CheckpointFolder, State
from lorakiln.train.devices import Launcher, make_trainer, share_of
from lorakiln.train.fingerprint import explain_fresh_start, fingerprint, identity
from lorakiln.train.lr import depends_on_total
from lorakiln.train.plan import plan
from lorakiln.train.results import git_state, provenance, run_facts, write_run
from lorakiln.train.samples import Sampler, sample_prompts
from lorakiln.train.space import checkpoint_bytes, run_bytes
from lorakiln.train.trouble import explained
from lorakiln.train.watch import Watch


def train(encoded: Path, out: Path, settings: TrainSettings, model: ModelSettings, checkpoints: Path) -> None:
    """Train an adapter, or go on with an interrupted run of the same settings, data and base model.

    Args:
        encoded: what `encode` wrote.
        out: the run's folder; replaced whole when training is finished.
        checkpoints: absolute; this run's are in a folder named by its fingerprint. At the end it is deleted, but for
            the last state under a constant learning rate, from which a longer run goes on.

    Raises:
        UserError: the inputs do not fit each other, the devices are not there, a loss was not finite.
        SystemExit: a signal asked for an end, and a checkpoint has been saved: 143 (SIGTERM), 130 (SIGINT),
            138 (SIGUSR1). Of several processes the first alone raises; the others return.
    """
    began = datetime.now(UTC)
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    trainer = make_trainer(settings)
    run = assemble(encoded, settings, model, share_of(trainer, settings), trainer.strategy.root_device)
    with claimed(out) if run.leads else nullcontext(), telling_disk_trouble(out):
        _train(run, trainer, out, checkpoints, began)


def _train(run: Run, trainer: pl.Trainer, out: Path, checkpoints: Path, began: datetime) -> None:
    settings, folder, tracker, state = run.settings, _open_checkpoints(run, checkpoints), Tracker(), None
    try:
        if run.leads:
            print(plan(run), flush=True)
            _check_space(run, out, checkpoints)
            state = folder.newest(settings.steps)
            tracker = _start_tracker(run, folder, checkpoints.parent.parent, state)
        watch = _fit(trainer, run, folder, tracker, state)
        if not run.leads:
            return
        if watch.stop.signal:  # which may have come after the last step, in what is done there
            _say_stopped(run)
            raise SystemExit(128 + watch.stop.signal)
        facts, where = run_facts(run, folder.work, watch.record), provenance(run, began, watch)
        write_run(out, folder.work, watch.record, facts, tracker.record, where)
        if depends_on_total(settings.scheduler):
            folder.delete()
        else:
            folder.finish(settings.steps)
        print(f"trained {settings.steps} steps: {out}", flush=True)
    finally:
        tracker.finish()
        folder.close()


def _open_checkpoints(run: Run, root: Path) -> CheckpointFolder:
    now = identity(run)
    folder = CheckpointFolder(root / fingerprint(now))
    if run.leads:
        dataset = run.encoded.index["dataset"]["name"]
        folder.open(now, dataset)
        lines = [] if folder.files() else explain_fresh_start(root, folder.folder, now, dataset)
        if lines:
            print(f"starting afresh: since the interrupted run on {dataset}, this changed:", file=sys.stderr)
            print("\n".join(f"  {line}" for line in lines), file=sys.stderr, flush=True)
    return folder


def _check_space(run: Run, out: Path, checkpoints: Path) -> None:
    made = run_bytes(run, len(_prompts(run)) * len(run.settings.samples.seeds))
    check_space(checkpoints, made + checkpoint_bytes(run), "checkpoints, adapters and samples")
    check_space(out, made, "adapters and samples")


def _prompts(run: Run) -> list[str]:
    return sample_prompts(run.encoded, run.settings.samples, run.split.trained)


def _start_tracker(run: Run, folder: CheckpointFolder, project: Path, state: State | None) -> Tracker:
    # An interrupted run goes on in the same record. The client's files stand beside the cache, in the main
    # checkout, where those of `dvc exp run --temp` outlive the copy that it works in.
    path = folder.folder / "tracker.json"
    known = _known_record(path) if state else None
    settings = run.settings.tracker
    tags = list(dict.fromkeys([*settings.tags, *_tags(run)]))
    index = run.encoded.index
    # W&B finds the commit by itself, but not where it may not look (`upload_images: false`).
    config = {**run.lineage, "dataset": index["dataset"], "base": index["base"], "git": git_state()}
    shown = settings.model_copy(update={"tags": tags, "name": settings.name or settings.group})
    return start_tracker(shown, config, project, known, "train")


def _known_record(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except UserError as error:
        print(f"warning: {error.where}: {error.what}; tracking starts a record of its own", file=sys.stderr)
        return None


def _tags(run: Run) -> list[str]:
    """What runs are sorted by; W&B takes no more than 64 letters."""
    adapter, base = run.settings.adapter, Path(run.encoded.index["base"]["path"]).name
    tags = [base, adapter.kind, f"rank {adapter.rank}", run.encoded.index["dataset"]["name"]]
    return [tag[:64] for tag in tags]


def _fit(
    trainer: pl.Trainer, run: Run, folder: CheckpointFolder, tracker: Tracker, state: State | None
) -> Watch:  # fmt: skip
    settings, sampler = run.settings, None
    if state:
        print(f"going on from the checkpoint after step {state.step}", file=sys.stderr, flush=True)
    if run.leads and settings.samples.every:
        reading = Reading.of(run.encoded.index["settings"]["encode"])
        sampler = Sampler(_prompts(run), settings.samples, run.model, reading)
    left = settings.steps - (state.step if state else 0)
    with progress("training", left, "steps") if run.leads else nullcontext() as bar:
        run.kiln.watch = watch = Watch(settings, run.split, folder, sampler, tracker, bar, run.leads, state)
        launcher = trainer.strategy.launcher
        try:
            trainer.fit(run.kiln)
        except BaseException as error:
            started = launcher.procs if isinstance(launcher, Launcher) else []
            told = explained(error, run, started) if isinstance(error, Exception) else error
            # The processes that Lightning started would wait for this one in the next all-reduce.
            for process in started:
                process.kill()
            if told is error:
                raise
            raise told from error
        finally:
            watch.stop.remove()
    return watch


def _say_stopped(run: Run) -> None:
    print(
        f"stopped after step {run.kiln.done}; a checkpoint is saved: the same command goes on from there",
        file=sys.stderr,
        flush=True,
    )
