"""What a run that goes on does once more: it tells its tracker what it remembers, and measures and draws again what
was measured and drawn with other settings than now, so that one record holds one kind of number and of picture.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from lorakiln.lora_files import diffusers_form
from lorakiln.schema.marks import Decides, select_decided
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import SampleSettings, TrainSettings
from lorakiln.tracking.protocol import Tracker
from lorakiln.train.checkpoint import AVERAGES
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.record import Record
from lorakiln.train.sample_file import read_sample_file
from lorakiln.train.sample_pictures import SampleDrawer
from lorakiln.train.validation import compute_validation_loss
from lorakiln.train.validation_split import ValidationSplit


def select_recording(settings: TrainSettings, model: ModelSettings) -> dict[str, Any]:
    """The settings that decide what a validation loss and a sample are, and not the weights; JSON-able."""
    requests = {"file": _read_requests(settings.samples)}
    return {
        "validation": select_decided(settings.validation, Decides.RECORD),
        "samples": {
            **select_decided(settings.samples, Decides.RECORD, requests),
            **select_decided(model, Decides.RECORD),  # how large one is that says no size
        },
    }


def _read_requests(settings: SampleSettings) -> list[dict[str, Any]] | None:
    # By content: a file changes while its name stays.
    if settings.file is None or not settings.every:
        return None
    return [request.model_dump(mode="json") for request in read_sample_file(Path(settings.file))]


def list_changed_recordings(records: dict[str, Any], settings: TrainSettings, model: ModelSettings) -> list[str]:
    """Which of a checkpoint's records, "validation" and "samples", were made with other settings than these.

    What the checkpoint of an earlier version does not say is taken to be the same.
    """
    before, now = records.get("recording", {}), select_recording(settings, model)
    return [name for name, made_with in now.items() if made_with != {**made_with, **before.get(name, {})}]


class Remeasurement:
    """Does the record of a checkpoint again with the settings of now.

    Args:
        first: all adapter weights as they were before the first step.
        work: holds the adapters and samples that were made so far.
    """

    def __init__(self, module: LoraModule, record: Record, first: Tensor, work: Path) -> None:
        self.module, self.record, self.first, self.work = module, record, first, work

    @property
    def kept(self) -> dict[int, Path | None]:
        """By step the weights that are still there: None before the first one, else a saved adapter, of which the
        average is taken where there is one."""
        saved = AVERAGES if self.module.average else "adapters"
        files = sorted((self.work / saved).glob("step-*.safetensors"))
        return {0: None, **{int(path.stem.removeprefix("step-")): path for path in files}}

    def measure(self, split: ValidationSplit) -> None:
        """Replace the validation losses by those of the weights that are still there."""
        if not self.record.validation:
            return
        losses = []
        for step, path in self.kept.items():
            with self._weights_of(path):
                losses.append({"step": step, "loss": compute_validation_loss(self.module, split.held_out)})
        self.record.validation[:] = losses
        self._say("the validation losses were measured with other train.validation.draws", "measured", list(self.kept))

    def draw(self, sampler: SampleDrawer) -> None:
        """Replace the samples by those of the weights that are still there, at the steps at which there were some.

        Raises:
            UserError: the model drew something that is not finite.
        """
        folders = {int(path.name.removeprefix("step-")): path for path in (self.work / "samples").glob("step-*")}
        if not folders:
            return
        drawn = sorted(folders.keys() & self.kept.keys())
        for folder in folders.values():
            shutil.rmtree(folder)
        for step in drawn:
            with self._weights_of(self.kept[step]):
                sampler.draw(self.module, folders[step])
        self._say("the samples were drawn with other train.samples or model.resolution", "drawn", drawn)

    @contextmanager
    def _weights_of(self, adapter: Path | None) -> Iterator[None]:
        weights = self.module.flat.weights.data
        now = weights.clone()
        if adapter is None:
            weights.copy_(self.first)
        else:
            self.module.adapted.write(diffusers_form.load(adapter, self.module.settings.adapter.kind))
        yield
        weights.copy_(now)

    @staticmethod
    def _say(what: str, done: str, steps: list[int]) -> None:
        at = f"{done} again at step{'s' * (len(steps) != 1)} {', '.join(map(str, steps))}" if steps else "left out"
        print(f"{what} until here: {at}, where the weights are kept", file=sys.stderr, flush=True)


def report_again(tracker: Tracker, record: Record, sampler: SampleDrawer | None, samples: Path) -> None:
    """Tell the tracker what there is; what its record holds already it does not take twice.

    Args:
        samples: holds a folder for each step at which some were drawn.
    """
    rows = {row["step"]: row for row in record.metrics}
    losses = {row["step"]: row["loss"] for row in record.validation}
    folders = {int(path.name.removeprefix("step-")): path for path in samples.glob("step-*")} if sampler else {}
    for step in sorted(rows.keys() | losses.keys() | folders.keys()):
        if step in rows:
            tracker.log({**rows[step], **record.tracked.get(step, {})}, step)
        if step in losses:
            tracker.log({"validation_loss": losses[step]}, step)
        if sampler and step in folders:
            tracker.images("samples", sampler.files(folders[step]), step)
    if sampler and folders:
        # It holds those of the steps before, too.
        tracker.table("samples_by_step", *sampler.table(samples), max(folders))
