"""AdamW (arXiv 1711.05101), torch's own."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.optimizers import Betas, OptimizerSettings


class AdamWSettings(OptimizerSettings):
    kind: Literal["adamw"] = "adamw"
    betas: Betas = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=100)
