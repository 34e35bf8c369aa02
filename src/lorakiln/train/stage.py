"""The stage `train`: encoded pictures in, a run's folder with adapters, metrics and samples out."""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lorakiln.artefacts.records import read_json
from lorakiln.console.errors import UserError
from lorakiln.console.progress import progress
from lorakiln.families import load_family
from lorakiln.families.family import Family
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.adapting import put_adapter, target_names
from lorakiln.train.checkpoint import CheckpointFolder
from lorakiln.train.devices import make_trainer, share_of
from lorakiln.train.fingerprint import explain_fresh_start, fingerprint, identity
from lorakiln.train.latents import Encoded
from lorakiln.train.module import Kiln, Share
from lorakiln.train.plan import plan
from lorakiln.train.results import provenance, run_facts, write_run
from lorakiln.train.samples import Sampler, sample_prompts
from lorakiln.train.split import Split, hold_out
from lorakiln.train.tracker import Tracker, start_tracker
from lorakiln.train.watch import Watch


@dataclass(frozen=True)
class Inputs:
    """What a run is made from, and where its results go."""

    encoded: Encoded
    settings: TrainSettings
    model: ModelSettings
    out: Path
    checkpoints: Path


def train(encoded: Path, out: Path, settings: TrainSettings, model: ModelSettings, checkpoints: Path) -> None:
    """Train an adapter, or go on with an interrupted run of the same settings, data and base model.

    Args:
        encoded: what `encode` wrote.
        out: the run's folder; replaced whole when training is finished.
        checkpoints: absolute; this run's are in a folder named by its fingerprint, deleted at the end.

    Raises:
        UserError: the inputs do not fit each other, the devices are not there, a loss was not finite.
        SystemExit: a signal asked for an end, and a checkpoint has been saved: 143 (SIGTERM), 130 (SIGINT),
            138 (SIGUSR1).
    """
    began = datetime.now(UTC)
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    trainer = make_trainer(settings)
    share = share_of(trainer, settings)
    inputs = Inputs(Encoded(encoded), settings, model, out, checkpoints)
    family = _load(inputs, trainer.strategy.root_device, share)
    split = hold_out(inputs.encoded.buckets, settings.validation, settings.seed)
    targets = target_names(family, settings.adapter.targets)
    put_adapter(family, settings.adapter, settings.seed)
    inputs.encoded.to_device(trainer.strategy.root_device)
    kiln = Kiln(family, inputs.encoded, split.trained, settings, share)
    folder = _open_checkpoints(inputs, split, family, share)
    leader = share.rank == 0
    if leader:
        device = trainer.strategy.root_device
        print(plan(inputs.encoded, split, settings, kiln.flat.count, len(targets), str(device)), flush=True)
    tracker = _start_tracker(inputs, folder) if leader else Tracker()
    try:
        watch, seconds = _fit(trainer, kiln, inputs, split, folder, tracker, leader)
        if watch.stop.signal and kiln.done < settings.steps:
            _say_stopped(kiln, leader)
            raise SystemExit(128 + watch.stop.signal)
        if leader:
            facts = run_facts(settings, inputs.encoded, family.facts, targets, folder.work, watch.record)
            where = provenance(
                began, seconds, kiln.global_step, settings, trainer.strategy.root_device, share.bf16
            )
            write_run(out, folder.work, watch.record, facts, tracker.record, where)
            folder.delete()
            print(f"trained {settings.steps} steps: {out}", flush=True)
    finally:
        tracker.finish()


def _load(inputs: Inputs, device: torch.device, share: Share) -> Family:
    draws = bool(inputs.settings.samples.every) and share.rank == 0
    parts = ("vae", "text", "network") if draws else ("network",)
    family = load_family(inputs.model, parts, device, torch.bfloat16 if share.bf16 else torch.float32)
    encoded_with = inputs.encoded.index["base"]
    if encoded_with["hash"] != family.facts["hash"]:
        raise UserError(
            f"the pictures were encoded with {encoded_with['path']}, which is not {inputs.model.path} as it is now",
            fix="run the stage `encode` again",
        )
    if family.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(
            f"a model that predicts {family.prediction_type!r} cannot be trained",
            where=inputs.model.path,
            fix="use one that predicts epsilon or v_prediction",
        )
    last = len(family.alphas_cumprod)
    objective = inputs.settings.objective
    if objective.min_timestep >= min(objective.max_timestep or last, last):
        raise UserError(
            f"no timestep is left: min_timestep {objective.min_timestep}, max_timestep {objective.max_timestep}",
            where="train.objective",
            fix=f"the model has timesteps 0 to {last - 1}",
        )
    # Convolutions take 10 to 20% less time so, on CPUs and GPUs.
    family.network.to(memory_format=torch.channels_last)
    if inputs.settings.trainer.gradient_checkpointing:
        family.network.enable_gradient_checkpointing()
    return family


def _open_checkpoints(inputs: Inputs, split: Split, family: Family, share: Share) -> CheckpointFolder:
    base = {key: family.facts[key] for key in ("family", "hash", "prediction_type")}
    now = identity(inputs.settings, inputs.encoded, split, base, share.bf16)
    folder = CheckpointFolder(inputs.checkpoints / fingerprint(now))
    if share.rank == 0:
        folder.open(now)
        if not folder.files():
            lines = explain_fresh_start(inputs.checkpoints, folder.folder, now)
            if lines:
                print(
                    "starting afresh: since the interrupted run on this data, this changed:", file=sys.stderr
                )
                print("\n".join(f"  {line}" for line in lines), file=sys.stderr, flush=True)
    return folder


def _start_tracker(inputs: Inputs, folder: CheckpointFolder) -> Tracker:
    # An interrupted run goes on in the same record. The client's files stand beside the cache, in the main
    # checkout, where those of `dvc exp run --temp` outlive the copy that it works in.
    path = folder.folder / "tracker.json"
    known: dict[str, Any] | None = read_json(path) if path.exists() else None
    config = {**inputs.encoded.index["settings"], "train": inputs.settings.model_dump(mode="json")}
    return start_tracker(inputs.settings.tracker, config, inputs.checkpoints.parent.parent, known, "train")


def _fit(
    trainer: pl.Trainer, kiln: Kiln, inputs: Inputs, split: Split, folder: CheckpointFolder, tracker: Tracker,
    leader: bool,
) -> tuple[Watch, float]:  # fmt: skip
    settings, sampler = inputs.settings, None
    if leader and settings.samples.every:
        prompts = sample_prompts(inputs.encoded, settings.samples, split.trained)
        clip_skip = inputs.encoded.index["settings"]["encode"]["clip_skip"]
        sampler = Sampler(prompts, settings.samples, inputs.model, clip_skip)
    with progress("training", settings.steps, "steps") if leader else nullcontext() as bar:
        kiln.watch = watch = Watch(settings, split, folder, sampler, tracker, bar, leader)
        try:
            trainer.fit(kiln)
        finally:
            watch.stop.remove()
    return watch, watch.training_seconds


def _say_stopped(kiln: Kiln, leader: bool) -> None:
    if leader:
        print(
            f"stopped after step {kiln.done}; a checkpoint is saved: the same command goes on from there",
            file=sys.stderr,
            flush=True,
        )
