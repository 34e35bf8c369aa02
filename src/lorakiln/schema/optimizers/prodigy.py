"""Prodigy (arXiv 2306.06101)."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.optimizers import AdaptiveSettings, Beta, Betas


class ProdigySettings(AdaptiveSettings):
    kind: Literal["prodigy"] = "prodigy"
    betas: Betas = (0.9, 0.999)
    beta3: Beta | None = Field(None, description="of the sums that d is estimated by; null: sqrt(beta2)")
    eps: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=100)
    use_bias_correction: bool = Field(True, description="Adam's, on the rate")
    safeguard_warmup: bool = Field(
        True, description="d's denominator does not know lr, so that a warm-up does not raise d"
    )
    d0: float = Field(1e-6, gt=0, le=1, description="the first estimate of the rate; d never falls below it")
    d_coef: float = Field(1.0, gt=0, le=1e3, description="a factor on what d is estimated as")
    growth_rate: float | None = Field(
        None, ge=1, le=1e9, description="by which d grows at most in a step; null: freely"
    )
