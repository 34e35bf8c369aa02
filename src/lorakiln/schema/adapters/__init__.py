"""`train.adapter`: one file for the settings of each kind of adapter that can be trained.

The kinds' code is in `lorakiln.adapters`; those that are only read from files have no settings.
"""

from typing import Annotated, Any

from pydantic import Field

from lorakiln.schema.base import Settings
from lorakiln.schema.marks import Decides, Names, Private
from lorakiln.schema.registry import Registry


class AdapterSettings(Settings, decides=Decides.WEIGHTS):
    """What every adapter has, so that swapping the kind leaves the rest of the settings right."""

    kind: Annotated[str, Private.NO] = "lora"
    rank: int = Field(gt=0, le=1024)
    alpha: float = Field(gt=0, le=1e6, description="the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Annotated[str | list[str], Private.NO] = Field(
        "attention",
        description="a preset (attention, kohya, locon), or endings of the network's module names, or patterns with *",
    )
    init_from: Annotated[str | None, Private.PATH, Names("lora", "LoRA to begin with")] = Field(
        None, description="a LoRA file to go on from"
    )


ADAPTERS: Registry[Any] = Registry(
    "adapter",
    code="lorakiln.adapters",
    settings=__name__,
    base=AdapterSettings,
    besides=("adapter", "checks", "factors", "networks", "peft_config", "protocol", "rotations", "targets"),
)
