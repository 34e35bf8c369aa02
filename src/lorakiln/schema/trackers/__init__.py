"""`train.tracker`: where a run is recorded besides its folder; one file for the settings of each kind."""

from typing import Annotated, Any

from pydantic import Field

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import Decides
from lorakiln.schema.registry import Registry


class TrackerSettings(Settings, decides=Decides.SHOWN):
    """What every tracker is given; one that has no use for a setting leaves it."""

    kind: Annotated[str, Decides.TRACKER]
    project: Annotated[str, Decides.TRACKER] = "lorakiln"
    entity: Annotated[str | None, Decides.TRACKER] = None
    group: str | None = Field(None, description="of runs; null: the experiment, or its sweep")
    name: str | None = Field(None, description="of the run, as it is shown; null: its time, or its job in the sweep")
    tags: list[str] = Field(default_factory=list, description="more than base model, adapter, rank and dataset")
    upload_images: bool = Field(True, description="false: pictures and captions stay at home")
    log_every: Annotated[int, Decides.MOMENTS] = Field(
        10, ge=1, le=MANY, description="optimizer steps between readings of the loss"
    )

    def in_group(self, group: str | None) -> "TrackerSettings":
        """With `group`, if the settings leave it open."""
        return self.model_copy(update={"group": self.group or group})

    def named(self, name: str | None = None) -> "TrackerSettings":
        """With `name`, if the settings leave it open, or the group's where there is none.

        Where pictures and captions stay at home it is the group's: a job may be called by the trigger or the prompt
        that it tries.
        """
        told = name if self.upload_images else None
        return self.model_copy(update={"name": self.name or told or self.group})


TRACKERS: Registry[Any] = Registry("tracker", code="lorakiln.tracking", settings=__name__, base=TrackerSettings)
