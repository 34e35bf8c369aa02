"""Any optimizer of the library pytorch-optimizer, by name: the extra lorakiln[optimizers]."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lorakiln.schema.marks import Private
from lorakiln.schema.optimizers import OptimizerSettings

# What of the library cannot train here: by reason, the names.
REFUSED = {
    "needs the loss as a function that it can call again": ("alig", "bsam", "lbfgs"),
    "needs second derivatives": ("adahessian", "sophiah"),
    "needs the model": ("adalomo", "adammini", "lomo"),
    "needs matrices alone, or pairs of them in an order of its own": ("lorarite", "spectralsphere"),
    "needs to be told which tensors are for Muon, as train/optimizer=muon is not": (
        "adago",
        "adamuon",
        "distributedmuon",
        "muon",
        "muonclip",
        "normuon",
    ),
    "exchanges gradients between devices by itself": ("demo",),
    "has a state that no checkpoint can hold": ("adashift", "conda", "kron", "magma", "rose", "scalableshampoo"),
}


class PytorchOptimizerSettings(OptimizerSettings):
    kind: Literal["pytorch_optimizer"] = "pytorch_optimizer"
    name: Annotated[str, Private.NO] = Field(
        "adopt", max_length=100, description="as pytorch_optimizer.load_optimizer knows it, such as ademamix or soap"
    )
    args: Annotated[dict[str, Any], Private.NO] = Field(
        default_factory=dict, description="the arguments of its class, but lr; lists are given as tuples"
    )

    @model_validator(mode="after")
    def _can_train(self) -> "PytorchOptimizerSettings":
        for why, names in REFUSED.items():
            if self.name.lower() in names:
                raise ValueError(f"{self.name} {why}, which a training here does not give it; take another one")
        for name, value in self.args.items():
            if not all(map(_is_plain, value if isinstance(value, list) else [value])):
                raise ValueError(f"args.{name} must be a number, true, false, a text, null, or a list of them")
        if "lr" in self.args:
            raise ValueError("lr stands beside args: train.optimizer.lr")
        return self


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | str | int) or (isinstance(value, float) and math.isfinite(value))
