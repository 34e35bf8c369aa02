"""What Lightning calls between two steps to make what the run leaves behind."""

import math
import sys
import time
from typing import Any

import torch

from lorakiln.adapters.networks import compute_adapter_norms
from lorakiln.artefacts.fsync import sync_folder, sync_names
from lorakiln.console.errors import UserError
from lorakiln.console.memory import read_peak_memory
from lorakiln.console.progress import Bar, PlainLines
from lorakiln.lora_files import diffusers_form
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tracking.live_losses import append_live_loss
from lorakiln.tracking.protocol import Tracker
from lorakiln.train.checkpoint import AVERAGES, CheckpointFolder, TrainingState
from lorakiln.train.failures import make_not_finite_error
from lorakiln.train.length import DueWork, choose_kept, count_epoch, find_due_work, is_due, is_ended_early
from lorakiln.train.lightning import pl
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.record import Record
from lorakiln.train.remeasuring import Remeasurement, list_changed_recordings, report_again, select_recording
from lorakiln.train.resume import broadcast, capture, restore
from lorakiln.train.sample_pictures import SampleDrawer
from lorakiln.train.step_metrics import compute_smoothed
from lorakiln.train.stop_together import StopTogether
from lorakiln.train.validation import compute_validation_loss
from lorakiln.train.validation_split import ValidationSplit

SMOOTHED = 100  # rows that the smoothed loss looks back on


class WorkInterrupted(Exception):
    """A signal came while something was measured or drawn; it is done when the run goes on."""


class RunRecorder(pl.Callback):
    """Makes what the run leaves behind: rows, validation losses, adapters, samples, and checkpoints, from which it goes
    on. Ends the training after its last step, and where a signal asks for an end.

    Only the leader (rank 0) validates, draws, saves and logs; the others wait for it in the next step's all-reduce.

    Args:
        stopping: asked after every step whether to end.
        bar: the progress; used by the leader alone, as are the sampler and the tracker.
        state: the leader's checkpoint to go on from.

    Attributes:
        record: the rows so far.
        busy: seconds spent here and not in training steps.
        steps: optimizer steps done by this process.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: ModelSettings,
        split: ValidationSplit,
        checkpoints: CheckpointFolder,
        sampler: SampleDrawer | None,
        tracker: Tracker,
        stopping: StopTogether,
        bar: PlainLines | Bar | None,
        leader: bool,
        state: TrainingState | None,
    ) -> None:
        self.settings, self.model, self.split = settings, model, split
        self.checkpoints, self.sampler = checkpoints, sampler
        self.tracker, self.stopping, self.bar, self.leader, self.state = tracker, stopping, bar, leader, state
        self.record, self.steps = Record(), 0
        self.epoch = count_epoch(settings, split)
        self.busy, self._began, self._saved_at = 0.0, time.monotonic(), time.monotonic()
        self._row_at = (0, 0.0, self._began)

    @property
    def training_seconds(self) -> float:
        """Seconds since the first step that were spent in steps."""
        return time.monotonic() - self._began - self.busy

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Go on from the checkpoint that this was given, or begin."""
        assert isinstance(module, LoraModule)
        first = module.flat.weights.data.clone() if self.state else None
        if self.state:
            restore(module, self.record, self.state)
        broadcast(module)
        if self.leader:
            self._begin_work(module, first)
        self._began = time.monotonic()
        self._row_at = (module.done, 0.0, self._began)
        trainer.should_stop = module.done >= self.settings.total_steps or self._agree_on_end()

    @property
    def ended_early(self) -> bool:
        """Whether the validation losses so far end the training; the leader's, who alone has them."""
        return is_ended_early([row["loss"] for row in self.record.validation], self.settings.early_stopping)

    def _agree_on_end(self) -> bool:
        """Whether the training ends early, as the leader says it to the others."""
        return self.settings.early_stopping.patience is not None and self.stopping.agree(self.ended_early)

    def _begin_work(self, module: LoraModule, first: torch.Tensor | None) -> None:
        records = self.state.records if self.state else {"made": [], "done": []}
        self.state = None
        self.checkpoints.forget_after(module.done, records["made"])
        if first is not None:
            self._begin_record(module, first, records)
        if module.done == 0:
            self._validate(module, 0)
            self._draw(module, 0)  # what the base draws
        else:
            step = module.done
            left = self._work(module, step, self._due(step).without(records["done"]))
            if self.ended_early:
                self._work(module, step, self._due(step, last=True).without([*records["done"], *left.names]))

    def _due(self, step: int, last: bool | None = None) -> DueWork:
        return find_due_work(step, self.settings, self.epoch, last)

    def _begin_record(self, module: LoraModule, first: torch.Tensor, records: dict[str, Any]) -> None:
        """What the run has recorded so far, as the settings have it now."""
        changed = list_changed_recordings(records, self.settings, self.model)
        remeasurement = Remeasurement(module, self.record, first, self.checkpoints.work)
        if "validation" in changed:
            remeasurement.measure(self.split)
        if "samples" in changed and self.sampler:
            remeasurement.draw(self.sampler)
        if changed:
            self._save(module, records["done"])
        report_again(self.tracker, self.record, self.sampler, self.checkpoints.work / "samples")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Do what is due.

        Raises:
            UserError: a loss or a gradient was not finite; the last checkpoint is from before it.
        """
        assert isinstance(module, LoraModule)
        began, step = time.monotonic(), module.done
        self.steps += 1
        due = self._due(step)
        stopping = bool(self.stopping.signal)
        going_on = not self.stopping.ending and step < self.settings.total_steps  # in all processes alike
        minutes = self.settings.checkpoint_minutes
        timed = self.leader and minutes > 0 and began - self._saved_at >= 60 * minutes
        if any(due) or stopping or timed:
            bad = module.step_losses.read()
            if bad is not None and (any(due) or stopping):
                # All processes know it at the same step. The others end quietly: Lightning kills the leader, in the
                # middle of its last words, when one of them ends with an error.
                if self.leader:
                    raise make_not_finite_error(module, bad, self.checkpoints)
                stopping, going_on = True, False
            if self.leader and bad is None:
                stopping = self._work_and_save(module, step, due, stopping, timed)
        if self.leader:
            assert self.bar  # the leader has one
            self.bar.advance(1, self._note())
        if due.validation and going_on and self._agree_on_end():
            stopping = True
        if stopping or step >= self.settings.total_steps:
            trainer.should_stop = True
        self.busy += time.monotonic() - began

    def _work_and_save(self, module: LoraModule, step: int, due: DueWork, stopping: bool, timed: bool) -> bool:
        """Do what is due; whether this was the last step, `stopping` or called away from what is due."""
        if step < self.settings.total_steps and not stopping:
            done = self._work(module, step, due)
            ended = due.validation and done == due and self.ended_early
            if done != due or due.checkpoint or timed or ended:
                self._save(module, done.names)
            if ended:
                self._work(module, step, self._due(step, last=True).without(done.names))
            return done != due
        # Who asks for an end gets it before pictures are drawn: they are drawn when the run goes on. After the last
        # step, what a longer run would do here as well comes before the checkpoint, the rest after it.
        first = self._due(step, last=False)
        if stopping:
            first = first.without(["validation", "samples"])
        done = self._work(module, step, first)
        self._save(module, done.names)
        if not stopping and done == first:
            self._work(module, step, due.without(first.names))
        return True

    def _work(self, module: LoraModule, step: int, due: DueWork) -> DueWork:
        """What of `due` is done: a signal calls a process that works alone away from measuring and drawing."""
        chores = {"row": self._row, "validation": self._validate, "adapter": self._keep_adapter, "samples": self._draw}
        done = []
        try:
            for name in due.names:
                if name in chores:
                    chores[name](module, step)
                done.append(name)
        except WorkInterrupted:
            return due.without([name for name in due.names if name not in done])
        return due

    def _heed(self) -> None:
        # Of several processes the others wait in the next step, where they all agree to end.
        if self.stopping.signal and self.stopping.alone:
            raise WorkInterrupted

    def _keep_adapter(self, module: LoraModule, step: int) -> None:
        self._save_adapter(module, step)
        # After the last step nothing is removed here: a longer run may keep others.
        if is_due(step, self.settings.save_every, self.epoch):
            self._drop_adapters()

    def _save_adapter(self, module: LoraModule, step: int) -> None:
        work, name = self.checkpoints.work, f"step-{step:08d}.safetensors"
        with module.answering():
            diffusers_form.save(module.adapted.read(), work / "adapters" / name, self.settings.adapter.kind)
        if module.average:
            with module.averaged():
                diffusers_form.save(module.adapted.read(), work / AVERAGES / name, self.settings.adapter.kind)

    def _drop_adapters(self) -> None:
        """Remove the saved adapters that are no more to be kept."""
        files = self.checkpoints.adapters()
        for step in files.keys() - choose_kept(list(files), self.record.losses, self.settings, self.epoch):
            self.checkpoints.drop_adapter(step)

    def _row(self, module: LoraModule, step: int) -> None:
        if not module.step_losses.losses:
            return
        loss, norm = module.step_losses.means()
        row = {"step": step, "loss": loss, "lr": module.rate(step - 1), "grad_norm": norm}
        row |= module.found_rate(step - 1)
        self.record.metrics.append(row)
        done, busy, at = self._row_at
        self._row_at = (step, self.busy, time.monotonic())
        seconds = max(self._row_at[2] - at - (self.busy - busy), 1e-9)
        speed = (module.schedule.count_seen(step) - module.schedule.count_seen(done)) / seconds
        if self.tracker.keeps:
            more = {
                "loss_smoothed": compute_smoothed([one["loss"] for one in self.record.metrics[-SMOOTHED:]]),
                "pictures_per_second": speed,
                "step_seconds": seconds / max(step - done, 1),
                "memory_gib": read_peak_memory(module.flat.weights.device) / 2**30,
            }
            if module.scale:
                more["loss_scale"] = module.scale.value.item()
            # The quarters are those of this process's share of the batches; the blocks' gradients, the row's step's.
            tracked = {
                **more,
                **module.part_rates(step - 1),
                **module.quarter_losses.read(),
                **module.block_norms.read(),
                **compute_adapter_norms(module.adapted),
            }
            self.record.tracked[step] = tracked
            self.tracker.log({**row, **tracked}, step)

    def _validate(self, module: LoraModule, step: int) -> None:
        if self.split.held_out_count:
            with module.averaged():
                loss = compute_validation_loss(module, self.split.held_out, self._heed)
            self.record.validation.append({"step": step, "loss": loss})
            append_live_loss(step, loss)
            self.tracker.log({"validation_loss": loss}, step)
            before = [other for at, other in self.record.losses.items() if at != step]
            if self.settings.keeps_best and step and loss < min(before, default=math.inf):
                self._save_adapter(module, step)
                self._drop_adapters()

    def _draw(self, module: LoraModule, step: int) -> None:
        if not self.sampler:
            return
        folder = self.checkpoints.work / "samples" / f"step-{step:08d}"
        try:
            with module.averaged():
                drawn = self.sampler.draw(module, folder, self._heed)
            # Before a checkpoint counts on them.
            sync_folder(folder)
            sync_names(folder.parent)
            self.tracker.images("samples", drawn, step)
            self.tracker.table("samples_by_step", *self.sampler.table(folder.parent), step)
        except UserError as error:
            # A picture that cannot be drawn is no reason to lose the training.
            print(f"warning: no samples at step {step}: {error}", file=sys.stderr)

    def _save(self, module: LoraModule, done: list[str]) -> None:
        made, kept = self.checkpoints.made(), select_recording(self.settings, self.model)
        self.checkpoints.save(capture(module, self.record, made=made, done=done, recording=kept))
        self._saved_at = time.monotonic()

    def _note(self) -> str:
        return f"loss {self.record.metrics[-1]['loss']:.4f}" if self.record.metrics else ""
