"""The stage `train`: encoded pictures in, a run's folder with adapters, metrics and samples out."""

import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import torch

from lorakiln.artefacts.disk import check_space, explaining_disk_errors
from lorakiln.artefacts.folders import claimed
from lorakiln.console.memory import forget_peak_memory
from lorakiln.console.progress import show_progress
from lorakiln.facts.run import RunFacts
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.optim.schedules import depends_on_total
from lorakiln.rows import VARIANT_SHEET
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tracking.tracker import RECORD, Tracker
from lorakiln.train.assembly import TrainingRun, assemble
from lorakiln.train.attention import attending
from lorakiln.train.callbacks import RunRecorder
from lorakiln.train.checkpoint import CheckpointFolder, TrainingState
from lorakiln.train.devices import Launcher, compute_share, make_trainer
from lorakiln.train.disk_space import estimate_checkpoint_bytes, estimate_run_bytes
from lorakiln.train.failures import explain_failure
from lorakiln.train.fingerprint import collect_identity, compute_fingerprint, explain_fresh_start
from lorakiln.train.lightning import pl
from lorakiln.train.memory_count import DRAWN
from lorakiln.train.plan import format_plan, list_warnings, warn_of_pieces
from lorakiln.train.results import check_kohya_metadata, collect_provenance, make_run_facts, write_run
from lorakiln.train.sample_pictures import SampleDrawer
from lorakiln.train.stop_together import StopTogether
from lorakiln.train.tracking import begin_tracking, keep_record, known_record


def train(
    encoded: Path, out: Path, settings: TrainSettings, model: ModelSettings, checkpoints: Path, job: str | None = None
) -> None:
    """Train an adapter, or go on with an interrupted run of the same settings, data and base model.

    Args:
        encoded: what `encode` wrote.
        out: the run's folder; replaced whole when training is finished.
        checkpoints: absolute; this run's are in a folder named by its fingerprint. At the end it is deleted, but for
            the last state, where the learning rate does not depend on their number: from it a longer run goes on.
        job: of a sweep, where it is for one: it waits for another that trains the same, and what goes on from another
            job's checkpoint has a tracker's record of its own.

    Raises:
        UserError: the inputs do not fit each other, the devices are not there, a loss was not finite.
        SystemExit: a signal asked for an end, and a checkpoint has been saved: 143 (SIGTERM), 130 (SIGINT),
            138 (SIGUSR1). Of several processes the first alone raises; the others return.
    """
    began, started = datetime.now(UTC), time.monotonic()
    forget_peak_memory()  # of the stages before it in the same process
    trainer, run = _put_together(encoded, settings, model)
    with claimed(out) if run.leads else nullcontext(), explaining_disk_errors(out):
        _train(run, trainer, encoded, out, checkpoints, began, started, job)


def plan(encoded: Path, settings: TrainSettings, model: ModelSettings) -> None:
    """Say what `train` would, and train nothing: everything is loaded and checked, and nothing is written.

    Args:
        encoded: what `encode` wrote.

    Raises:
        UserError: the inputs do not fit each other, the devices are not there.
    """
    _print_plan(_put_together(encoded, settings, model)[1])


def _put_together(encoded: Path, settings: TrainSettings, model: ModelSettings) -> tuple[pl.Trainer, TrainingRun]:
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    trainer = make_trainer(settings)
    run = assemble(encoded, settings, model, compute_share(trainer, settings), trainer.strategy.root_device)
    check_kohya_metadata(run)
    return trainer, run


def _print_plan(run: TrainingRun) -> None:
    print(format_plan(run), flush=True)
    pieces = run.encoded.index.trigger_pieces
    for doubt in [*list_warnings(run.settings), *warn_of_pieces(pieces, [*run.settings.tokens, *run.begun])]:
        print(f"warning: {doubt}", file=sys.stderr, flush=True)


def _train(
    run: TrainingRun,
    trainer: pl.Trainer,
    encoded: Path,
    out: Path,
    checkpoints: Path,
    began: datetime,
    started: float,
    job: str | None,
) -> None:
    settings, folder, tracker, state = run.settings, _open_checkpoints(run, checkpoints, job), Tracker(), None
    try:
        if run.leads:
            _print_plan(run)
            _check_space(run, out, checkpoints)
            state = folder.newest(settings.total_steps)
            tracker = _begin_tracking(run, folder, checkpoints.parent.parent, job)
            if (sheet := encoded / VARIANT_SHEET).is_file():
                tracker.images("variants", {"variants of pictures": sheet}, 0)
        recorder = _fit(trainer, run, folder, tracker, state)
        if not run.leads:
            return
        if number := recorder.stopping.signal:  # which may have come after the last step, in what is done there
            _say_stopped(run)
            raise SystemExit(128 + number)
        step = run.module.done
        facts = make_run_facts(run, folder.work, recorder.record, step)
        if step < settings.total_steps:
            print(_describe_early_end(facts, settings), flush=True)
        where = collect_provenance(run, began, time.monotonic() - started, recorder)
        write_run(out, folder.work, recorder.record, facts, tracker.record, where)
        # From where it was stopped early, one of more patience goes on, under any learning rate.
        if depends_on_total(settings.scheduler) and step == settings.total_steps:
            folder.delete()
        else:
            folder.finish(step)
        print(f"trained {step} steps: {out}", flush=True)
    finally:
        tracker.finish()
        folder.close()


def _open_checkpoints(run: TrainingRun, root: Path, job: str | None) -> CheckpointFolder:
    now = collect_identity(run)
    folder = CheckpointFolder(root / compute_fingerprint(now))
    if run.leads:
        dataset = run.encoded.index.dataset.name
        folder.open(now, dataset, wait=job is not None)
        folder.leave_longer(run.settings.total_steps)
        if folder.longer:
            note = f"the checkpoints of a longer run, up to step {folder.longer}, are left as they are"
            print(note, file=sys.stderr, flush=True)
        lines = [] if folder.longer or folder.files() else explain_fresh_start(root, folder.folder, now, dataset)
        if lines:
            print(f"starting afresh: since the interrupted run on {dataset}, this changed:", file=sys.stderr)
            print("\n".join(f"  {line}" for line in lines), file=sys.stderr, flush=True)
    return folder


def _check_space(run: TrainingRun, out: Path, checkpoints: Path) -> None:
    pixels = sum(one.job.width * one.job.height for one in run.samples)
    made = estimate_run_bytes(run, pixels)
    check_space(checkpoints, made + estimate_checkpoint_bytes(run), "checkpoints, adapters and samples")
    check_space(out, made, "adapters and samples")


def _begin_tracking(run: TrainingRun, folder: CheckpointFolder, project: Path, job: str | None) -> Tracker:
    settings, path = run.settings, folder.folder / RECORD
    # Who goes on from a finished run makes another LoRA.
    known = None if folder.finished else known_record(path, settings, run.model, job)
    tracker = begin_tracking(settings, run.encoded.index, run.lineage, project, known)
    keep_record(path, tracker, settings, run.model, job)
    return tracker


def _fit(
    trainer: pl.Trainer, run: TrainingRun, folder: CheckpointFolder, tracker: Tracker, state: TrainingState | None
) -> RunRecorder:
    settings, sampler = run.settings, None
    if state:
        print(f"going on from the checkpoint after step {state.step}", file=sys.stderr, flush=True)
    if run.leads and run.samples:
        encoding = PromptEncoding.of(run.encoded.index.made_with("encode", EncodeSettings))
        sampler = SampleDrawer(
            run.samples,
            run.model,
            encoding,
            run.memory_fit.memory.drawn if run.memory_fit else DRAWN,
        )
    left = settings.total_steps - (state.step if state else 0)
    with show_progress("training", left, "steps") if run.leads else nullcontext() as bar:
        stopping = StopTogether()
        recorder = RunRecorder(
            settings, run.model, run.split, folder, sampler, tracker, stopping, bar, run.leads, state
        )
        # In this order.
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined] # set by its connector
        callbacks.extend([stopping, recorder])
        launcher = trainer.strategy.launcher
        try:
            with attending(settings.trainer.attention), run.family.training():
                trainer.fit(run.module)
        except BaseException as error:
            started = launcher.procs if isinstance(launcher, Launcher) else []
            explained = explain_failure(error, run, started) if isinstance(error, Exception) else error
            # The processes that Lightning started would wait for this one in the next all-reduce.
            for process in started:
                process.kill()
            if explained is error:
                raise
            raise explained from error
        finally:
            stopping.end()
    return recorder


def _describe_early_end(facts: RunFacts, settings: TrainSettings) -> str:
    best, loss = min(
        ((one.step, one.validation_loss) for one in facts.adapters if one.validation_loss is not None),
        key=lambda pair: (pair[1], pair[0]),
    )
    return (
        f"stopped early after step {facts.step} of {facts.max_steps}: {settings.early_stopping.patience} validations "
        f"in a row were no gain; step {best} has the lowest validation loss, {loss:.4f}; it is kept, and exported"
    )


def _say_stopped(run: TrainingRun) -> None:
    print(
        f"stopped after step {run.module.done}; a checkpoint is saved: the same command goes on from there",
        file=sys.stderr,
        flush=True,
    )
