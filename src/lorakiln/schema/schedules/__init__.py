"""`train.scheduler`: one file for the settings of each kind of learning-rate schedule."""

from typing import Annotated, Any

from pydantic import Field

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import Decides, Private
from lorakiln.schema.registry import Registry


class SchedulerSettings(Settings, decides=Decides.WEIGHTS):
    """What every schedule has."""

    kind: Annotated[str, Private.NO]
    warmup_steps: int = Field(0, ge=0, le=MANY)


class SwappableSettings(SchedulerSettings):
    """What the first five kinds have alike, so that one can be swapped for another beside `cycles` or `power`, in a
    sweep over the group as well. A kind that comes later has its own settings alone.
    """

    cycles: int = Field(1, ge=1, le=MANY, description="of cosine_with_restarts")
    power: float = Field(1.0, gt=0, le=100, description="of polynomial")


SCHEDULES: Registry[Any] = Registry(
    "learning-rate schedule", code="lorakiln.optim.schedules", settings=__name__, base=SchedulerSettings
)
