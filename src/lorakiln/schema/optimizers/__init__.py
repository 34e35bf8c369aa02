"""`train.optimizer`: one file for the settings of each kind of optimizer."""

from typing import Annotated, Any

from pydantic import Field

from lorakiln.schema.base import Settings
from lorakiln.schema.marks import Decides, Private
from lorakiln.schema.registry import Registry

Beta = Annotated[float, Field(ge=0, lt=1)]
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


OPTIMIZERS: Registry[Any] = Registry("optimizer", code="lorakiln.optim", settings=__name__, base=OptimizerSettings)
