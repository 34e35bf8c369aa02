"""How long a training is, and when what happens in it: epochs as optimizer steps.

An epoch is as many pictures as there are to train on, times `train.repeats`: what sd-scripts counts with num_repeats.
Batches here are filled across the end of an epoch, so that one may end within a step; sd-scripts begins a new batch
there (and in every bucket), and its epochs are a few steps longer. What is due by epochs is due after the step that
ends them.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from lorakiln.schema.base import check
from lorakiln.schema.intervals import read_epochs
from lorakiln.schema.train import EarlyStoppingSettings, TrainSettings
from lorakiln.train.validation_split import ValidationSplit


def count_epoch(settings: TrainSettings, split: ValidationSplit) -> Fraction:
    """The optimizer steps of an epoch, exactly.

    Args:
        split: whose pictures are trained on, each in batches of its own size.
    """
    return split.count_batches(settings.batch_size) * settings.repeats


def count_steps(settings: TrainSettings, split: ValidationSplit) -> TrainSettings:
    """The same settings with their length in steps; the last step is the one that ends the last epoch.

    Args:
        split: whose pictures are trained on.

    Raises:
        ConfigError: what is counted in steps does not fit into so many, such as a warm-up.
    """
    if settings.epochs is None:
        return settings.model_copy(update={"steps": settings.total_steps})
    steps = math.ceil(Fraction(str(settings.epochs)) * count_epoch(settings, split))
    return check(TrainSettings, {**settings.model_dump(), "steps": steps, "epochs": None}, "train")


def is_due(step: int, interval: int | str, epoch: Fraction) -> bool:
    """Whether something is due after `step` steps: of every so many, or the first that ends so many epochs.

    Args:
        interval: as `schema.intervals` has it.
        epoch: its steps.
    """
    if isinstance(interval, int):  # asked for in every step, and fractions are slow
        return interval > 0 and step % interval == 0
    length = _in_steps(interval, epoch)
    return step // length > (step - 1) // length


def count_due(steps: int, interval: int | str, epoch: Fraction) -> int:
    """How often it is due in the first `steps` steps; see `is_due`."""
    length = _in_steps(interval, epoch)
    return int(steps // max(length, Fraction(1))) if length else 0


def _in_steps(interval: int | str, epoch: Fraction) -> Fraction:
    epochs = read_epochs(interval)
    return Fraction(interval) if epochs is None else epochs * epoch


class DueWork(NamedTuple):
    """What is to be done after a step."""

    row: bool
    validation: bool
    adapter: bool
    samples: bool
    checkpoint: bool

    @property
    def names(self) -> list[str]:
        return [name for name, value in self._asdict().items() if value]

    def without(self, names: list[str]) -> "DueWork":
        """The rest, when those named are done already."""
        return DueWork(**{name: value and name not in names for name, value in self._asdict().items()})


def find_due_work(step: int, settings: TrainSettings, epoch: Fraction, last: bool | None = None) -> DueWork:
    """What is due after `step` steps; after the last, everything but a checkpoint.

    Args:
        epoch: its steps; see `count_epoch`.
        last: whether it is the last; None: by the settings.
    """
    last = step == settings.total_steps if last is None else last

    def every(interval: int | str) -> bool:
        return is_due(step, interval, epoch)

    adapter = last or every(settings.save_every)
    watched = settings.validation.every
    return DueWork(
        row=last or every(settings.tracker.log_every),
        # A saved adapter without a validation loss could not be compared with the others.
        validation=bool(watched) and (adapter or every(watched)),
        adapter=adapter,
        samples=bool(settings.samples.every) and (last or every(settings.samples.every)),
        checkpoint=every(settings.checkpoint_every) and not last,
    )


def format_interval(interval: int | str) -> str:
    """ "100 steps", "2 epochs"."""
    if isinstance(interval, int):
        return f"{interval:,} step{'s' * (interval != 1)}"
    return interval.replace("epoch", " epoch").replace("  ", " ")


def is_ended_early(losses: Sequence[float], settings: EarlyStoppingSettings) -> bool:
    """Whether the last `patience` validations were no gain: none was by more than `least_gain` below the lowest before.

    Losses may be averaged first (`smoothing`). A function of the losses alone, so that a run that goes on ends where
    one does that was never stopped.

    Args:
        losses: of all validations so far, in order; the first is that of the base.
    """
    if settings.patience is None:
        return False
    lowest, waited = math.inf, 0
    value, weight, keep = 0.0, 0.0, settings.smoothing
    for loss in losses:
        # As `step_metrics.compute_smoothed`, of all so far.
        value, weight = keep * value + (1 - keep) * loss, keep * weight + (1 - keep)
        if value / weight < lowest - settings.least_gain:
            lowest, waited = value / weight, 0
        else:
            waited += 1
    return waited >= settings.patience


def choose_kept(
    steps: Sequence[int], losses: Mapping[int, float], settings: TrainSettings, epoch: Fraction, last: int = 0
) -> set[int]:
    """Which of the saved adapters are kept, by their steps: the last `keep_last` (all, where that is null) of those
    that `save_every` asks for, and the best.

    Args:
        steps: of the adapters that are there, in order.
        losses: by step the validation losses so far, the base's left out.
        epoch: its steps.
        last: the run's last step, whose adapter counts with those of `save_every`; 0: it is still to come.
    """
    saved = [step for step in steps if step == last or is_due(step, settings.save_every, epoch)]
    kept = set(saved if settings.keep_last is None else saved[-settings.keep_last :])
    judged = losses if settings.keeps_best else {step: losses[step] for step in saved if step in losses}
    # The earlier of equals, as export takes it.
    return kept | ({min(judged, key=lambda step: (judged[step], step))} if judged else set())
