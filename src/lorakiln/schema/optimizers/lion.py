"""Lion (arXiv 2302.06675)."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.optimizers import Betas, OptimizerSettings


class LionSettings(OptimizerSettings):
    kind: Literal["lion"] = "lion"
    betas: Betas = (0.9, 0.99)
    weight_decay: float = Field(0.01, ge=0, le=100)
