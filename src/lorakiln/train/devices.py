"""Which devices train, and how several of them stay together."""

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch

from lorakiln.console.errors import UserError
from lorakiln.console.gpu import INSTALL, explain_unusable_gpu, warn_of_unusable_gpu
from lorakiln.console.orphans import end_with_parents
from lorakiln.schema.train import TrainerSettings, TrainSettings
from lorakiln.train.failures import make_lost_process_error
from lorakiln.train.lightning import pl
from lorakiln.train.precision import choose_precision
from lorakiln.train.share import Share

# How long the others wait while the first process validates and draws; torch's own limit is ten minutes on GPUs.
PATIENCE = timedelta(hours=2)
GRACE = 20.0  # seconds that a process has to end by itself when another has ended


class SumGradients(pl.strategies.DDPStrategy):
    """Lightning's processes and launchers without the DistributedDataParallel wrapper.

    The module itself all-reduces one flat tensor a step, after the last micro-batch: what the wrapper would do in
    buckets, with its bookkeeping for every parameter and a broadcast of the buffers in every forward.
    """

    def configure_ddp(self) -> None:
        """Nothing: the module stays as it is."""

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None  # Lightning has chosen one
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)


class Launcher(pl.strategies.launchers.subprocess_script._SubprocessScriptLauncher):
    """Lightning's, which kills this process without a word when one that it started has ended; ours says why."""

    def launch(
        self, function: Callable[..., Any], *arguments: Any, trainer: pl.Trainer | None = None, **named: Any
    ) -> Any:
        """Start the other processes, unless torchrun or SLURM has, and call `function` here."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            if self.cluster_environment.local_rank():
                end_with_parents(1, GRACE)
            else:
                self._call_children_scripts()
                threading.Thread(target=self._watch, name="watches-processes", daemon=True).start()
        return function(*arguments, **named)

    def _watch(self) -> None:
        while not any(process.poll() for process in self.procs):
            if all(process.poll() == 0 for process in self.procs):
                return
            time.sleep(1)
        # Usually this process is told by its broken connection, and ends by itself; but not while it draws or waits.
        time.sleep(GRACE)
        print(f"error: {make_lost_process_error(self.procs)}", file=sys.stderr, flush=True)
        self.kill(signal.SIGKILL)
        os._exit(1)


def make_trainer(settings: TrainSettings) -> pl.Trainer:
    """A Lightning trainer that leaves logging, progress and checkpoints to us.

    Raises:
        UserError: the GPUs asked for are not there.
    """
    wanted = settings.trainer
    accelerator = find_accelerator(wanted)
    world = wanted.devices * wanted.num_nodes
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # About loggers, checkpoints and loader workers that are left out on purpose.
    warnings.filterwarnings("ignore", module="lightning")
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=wanted.devices,
        num_nodes=wanted.num_nodes,
        strategy=SumGradients(timeout=PATIENCE) if world > 1 else "auto",
        # The end is ours to say: a resumed run has fewer steps before it than the settings tell.
        max_steps=-1,
        max_epochs=-1,
        deterministic=settings.deterministic or None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    _take_signals_from(trainer)
    return trainer


def _take_signals_from(trainer: pl.Trainer) -> None:
    # Lightning 2.6 has no public way to leave signals to its user. Its handlers would take one that comes before ours
    # are in place, and keep it until an epoch is over; and of several processes each would broadcast in every step
    # whether it has one, and wait for the device to read the answer. `StopTogether` does both over the CPU.
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = lambda: None
    loop: Any = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = lambda: None


def compute_share(trainer: pl.Trainer, settings: TrainSettings) -> Share:
    """This process's part in the work."""
    device = trainer.strategy.root_device
    wanted = settings.trainer.precision
    precision = choose_precision(wanted, device)
    if trainer.global_rank == 0:
        if settings.trainer.accelerator == "auto" and device.type == "cpu":
            warn_of_unusable_gpu()
        if device.type == "cuda" and wanted in ("auto", "bf16") and precision != "bf16":
            how = "is fp16, with loss scaling" if precision == "fp16" else "stays fp32; precision=auto takes fp16"
            print(f"{torch.cuda.get_device_name(device)} has no bf16: the base {how}", file=sys.stderr)
    return Share(trainer.global_rank, trainer.world_size, bf16=precision == "bf16", fp16=precision == "fp16")


def find_accelerator(wanted: TrainerSettings) -> str:
    """Lightning's name, "cpu" or "gpu", of what trains on this machine.

    Raises:
        UserError: the GPUs asked for are not there.
    """
    devices = wanted.devices
    if wanted.accelerator == "cpu" or (wanted.accelerator == "auto" and not torch.cuda.is_available()):
        return "cpu"
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there == 0:
        build = "" if torch.version.cuda else " (this torch is a build without CUDA)"
        why = explain_unusable_gpu()
        raise UserError(
            why.partition(";")[0] or f"no CUDA device is there{build}",
            where="train.trainer.accelerator",
            fix="train on the CPU: train/trainer=cpu" + (f"; or {INSTALL}" if why else ""),
        )
    if devices > there:
        fix = f"set train.trainer.devices to {there} or fewer"
        raise UserError(f"{devices} devices wanted, {there} there", where="train.trainer.devices", fix=fix)
    return "gpu"
