"""What is to be done after which step."""

from fractions import Fraction
from typing import NamedTuple

from lorakiln.schema.train import TrainSettings
from lorakiln.train.length import is_due


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
        epoch: its steps; see `length.count_epoch`.
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
