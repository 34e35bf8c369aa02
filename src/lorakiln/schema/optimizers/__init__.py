"""`train.optimizer`: one file for the settings of each kind of optimizer."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from lorakiln.schema.base import Settings
from lorakiln.schema.marks import Decides, Private
from lorakiln.schema.registry import Registry

Beta = Annotated[float, Field(ge=0, lt=1)]
Epsilon = Annotated[float, Field(gt=0, le=1)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]  # YAML has lists alone


class OptimizerSettings(Settings, decides=Decides.WEIGHTS):
    """What every optimizer has."""

    kind: str
    lr: float = Field(gt=0, le=1)
    part_lrs: Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], Private.NO] = Field(
        default_factory=dict,
        description="other learning rates, by how the names of a part's modules begin: up_blocks, up_blocks.1; "
        "the longest beginning counts",
    )

    @property
    def finds_rate(self) -> bool:
        """Whether it finds the learning rate itself: `lr` is then a factor on what it finds, and 1 is usual."""
        return False


class AdaptiveSettings(OptimizerSettings):
    """What those have that estimate one distance for all weights, and with it the learning rate."""

    @property
    def finds_rate(self) -> bool:
        return True

    @model_validator(mode="after")
    def _one_rate(self) -> "AdaptiveSettings":
        if other := sorted(part for part, rate in self.part_lrs.items() if rate not in (0, self.lr)):
            raise ValueError(
                f"{self.kind} finds one rate for all parts, so that {other[0]} can have 0, or the lr {self.lr:g} alone"
            )
        return self


OPTIMIZERS: Registry[Any] = Registry("optimizer", code="lorakiln.optim", settings=__name__, base=OptimizerSettings)
