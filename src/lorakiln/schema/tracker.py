"""`train.tracker`: where a run is recorded besides its folder."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import Decides


class TrackerSettings(Settings, decides=Decides.SHOWN):
    kind: Annotated[Literal["wandb", "tensorboard", "csv", "none"], Decides.TRACKER]
    project: Annotated[str, Decides.TRACKER] = "lorakiln"
    entity: Annotated[str | None, Decides.TRACKER] = None
    group: str | None = Field(None, description="of runs; null: the experiment, or its sweep")
    name: str | None = Field(None, description="of the run, as it is shown; null: its time, or its job in the sweep")
    tags: list[str] = Field(default_factory=list, description="more than base model, adapter, rank and dataset")
    upload_images: bool = Field(True, description="false: pictures and captions stay at home")
    log_every: Annotated[int, Decides.MOMENTS] = Field(
        10, ge=1, le=MANY, description="optimizer steps between readings of the loss"
    )
