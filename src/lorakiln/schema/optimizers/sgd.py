"""Stochastic gradient descent with momentum, torch's own."""

from typing import Literal

from pydantic import Field, model_validator

from lorakiln.schema.optimizers import Beta, OptimizerSettings


class SgdSettings(OptimizerSettings):
    kind: Literal["sgd"] = "sgd"
    momentum: Beta = 0.9
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0, le=100, description="added to the gradient (L2), as torch's SGD has it")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SgdSettings":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the momentum: set momentum, 0.9 for instance")
        return self
