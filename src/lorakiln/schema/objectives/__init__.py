"""`train.objective`: one file for the settings of each kind of loss, with what decides the noise beside it."""

from typing import Annotated, Any

from pydantic import Field

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import Decides, Private
from lorakiln.schema.registry import Registry


class ObjectiveSettings(Settings, decides=Decides.WEIGHTS):
    """What every objective has, whatever its loss; a noise process refuses by name what it has not."""

    kind: Annotated[str, Private.NO] = Field("mse", description="the loss between prediction and target")
    min_snr_gamma: float | None = Field(
        None, gt=0, le=1e6, description="Min-SNR weighting, arXiv 2303.09556; 5 is usual"
    )
    noise_offset: float = Field(0.0, ge=0, le=1)
    huber_delta: float = Field(0.1, gt=0, le=1e6, description="of huber")
    caption_dropout: float = Field(0.0, ge=0, le=1, description="how often a caption is replaced by the empty one")
    min_timestep: int = Field(0, ge=0, le=MANY)
    max_timestep: int | None = Field(None, ge=1, le=MANY, description="exclusive; null: the model's last")


# Those of them that mean something for some noise processes alone.
NOISE = ("min_snr_gamma", "noise_offset", "min_timestep", "max_timestep")
OBJECTIVES: Registry[Any] = Registry(
    "objective", code="lorakiln.diffusion.losses", settings=__name__, base=ObjectiveSettings
)
