"""CAME (arXiv 2307.02047)."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.optimizers import Beta, Epsilon, OptimizerSettings


class CameSettings(OptimizerSettings):
    kind: Literal["came"] = "came"
    betas: Annotated[tuple[Beta, Beta, Beta], Field(strict=False)] = Field(
        (0.9, 0.999, 0.9999), description="of the update, of the squared gradient, of the instability"
    )
    eps: Annotated[tuple[Epsilon, Epsilon], Field(strict=False)] = Field(
        (1e-30, 1e-16), description="added to the square of a gradient, and to the instability"
    )
    clip_threshold: float = Field(1.0, gt=0, le=1e6, description="of the root mean square of a tensor's update")
    weight_decay: float = Field(0.0, ge=0, le=100)
