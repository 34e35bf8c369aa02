"""`train.tracker`: where a run is recorded besides its folder."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.base import Settings


class TrackerSettings(Settings):
    kind: Literal["wandb", "csv", "none"]
    project: str = "lorakiln"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = Field(default_factory=list)
    upload_images: bool = Field(True, description="false: pictures and captions stay at home")
    log_every: int = Field(10, ge=1, description="optimizer steps between readings of the loss")
