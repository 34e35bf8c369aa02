"""Adam by D-Adaptation (arXiv 2301.07733)."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.optimizers import AdaptiveSettings, Betas


class DAdaptAdamSettings(AdaptiveSettings):
    kind: Literal["dadapt_adam"] = "dadapt_adam"
    betas: Betas = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=100)
    use_bias_correction: bool = Field(True, description="Adam's, on the rate")
    d0: float = Field(1e-6, gt=0, le=1, description="the first estimate of the rate; it never falls")
    growth_rate: float | None = Field(
        None, ge=1, le=1e9, description="by which it grows at most in a step; null: freely"
    )
