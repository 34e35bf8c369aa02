"""`train.scheduler`: one file for the settings of each kind of learning-rate schedule."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import Decides, Private
from lorakiln.schema.registry import Registry


class SchedulerSettings(Settings, decides=Decides.WEIGHTS):
    """What every schedule has."""

    kind: Annotated[str, Private.NO]
    warmup_steps: int = Field(0, ge=0, le=MANY, description="in which the rate rises from 0 on a straight line")
    warmup_fraction: float = Field(0.0, ge=0, le=1, description="of train.steps, rounded, in place of warmup_steps")
    min_lr_ratio: float = Field(
        0.0, ge=0, le=1, description="the least rate, as a part of the highest; a warm-up begins at 0 nevertheless"
    )

    @model_validator(mode="after")
    def _one_warmup(self) -> "SchedulerSettings":
        if self.warmup_steps and self.warmup_fraction:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} and warmup_fraction {self.warmup_fraction:g} are two lengths of one "
                "warm-up: set one of them to 0"
            )
        return self

    def count_warmup(self, steps: int) -> int:
        """The warm-up's steps in a training of so many."""
        return self.warmup_steps or round(self.warmup_fraction * steps)


class SwappableSettings(SchedulerSettings):
    """What the first five kinds have alike, so that one can be swapped for another beside `cycles` or `power`, in a
    sweep over the group as well. A kind that comes later has its own settings alone.
    """

    cycles: int = Field(1, ge=1, le=MANY, description="of cosine_with_restarts")
    cycle_decay: float = Field(
        1.0, gt=0, le=1, description="of cosine_with_restarts: each cycle's peak is that of the one before times this"
    )
    power: float = Field(1.0, gt=0, le=100, description="of polynomial")


SCHEDULES: Registry[Any] = Registry(
    "learning-rate schedule", code="lorakiln.optim.schedules", settings=__name__, base=SchedulerSettings
)
