"""`train.adapter`: one file for the settings of each kind of adapter that can be trained.

The kinds' code is in `lorakiln.adapters`; those that are only read from files have no settings.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from lorakiln.schema.base import Settings
from lorakiln.schema.marks import Decides, Names, Private
from lorakiln.schema.registry import Registry

OWN = "by the endings of modules' names or patterns with *; the longest that fits counts"


class AdapterSettings(Settings, decides=Decides.WEIGHTS):
    """What every adapter has, so that swapping the kind leaves the rest of the settings right.

    Attributes:
        scalable: whether a file can hold the same change at another strength.
    """

    scalable: ClassVar[bool] = True
    kind: Annotated[str, Private.NO] = "lora"
    rank: int = Field(gt=0, le=1024)
    alpha: float = Field(gt=0, le=1e6, description="the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="of what goes into the adapter, while it trains")
    targets: Annotated[str | list[str], Private.NO] = Field(
        "attention",
        description="a preset (attention, kohya, locon), or endings of the network's module names, or patterns with *",
    )
    init_from: Annotated[str | None, Private.PATH, Names("lora", "LoRA to begin with")] = Field(
        None, description="a LoRA file to go on from, with words (`train.tokens`) that it brings along; or words' alone"
    )

    @property
    def draws(self) -> bool:
        """Whether anything in the network is drawn by chance while it trains."""
        return bool(self.dropout)


class DroppedSettings(AdapterSettings):
    """What can leave out more than single numbers while it trains."""

    module_dropout: float = Field(0.0, ge=0, lt=1, description="of a module's whole change, in a step")

    @property
    def draws(self) -> bool:
        return bool(self.dropout or self.module_dropout)


class LowRankSettings(DroppedSettings):
    """Kinds with factors of a rank, which may differ from module to module."""

    rank_dropout: float = Field(0.0, ge=0, lt=1, description="of LoRA's ranks; of other kinds' outputs")
    rank_pattern: Annotated[dict[str, Annotated[int, Field(gt=0, le=1024)]], Private.NO] = Field(
        default_factory=dict, description=f"other ranks, {OWN}"
    )
    alpha_pattern: Annotated[dict[str, Annotated[float, Field(gt=0, le=1e6)]], Private.NO] = Field(
        default_factory=dict, description=f"other alphas, {OWN}"
    )

    @property
    def draws(self) -> bool:
        return super().draws or bool(self.rank_dropout)


class LimitedSettings(LowRankSettings):
    """Kinds whose change can be made smaller by a factor."""

    max_norm: float | None = Field(
        None, gt=0, le=1e6, description="of a module's change, Frobenius: after a step it is scaled down to it"
    )


class PairSettings(LimitedSettings):
    """LoRA's two factors: A, which the input meets, and B."""

    init: Literal["kaiming", "gaussian", "pissa", "olora"] = Field(
        "kaiming", description="of A, with B = 0; or both from the weight itself"
    )
    rate_ratio: float = Field(1.0, gt=0, le=1000, description="LoRA+: B's learning rate is so many times A's")

    @model_validator(mode="after")
    def _begins_once(self) -> "PairSettings":
        if self.init_from and self.init in ("pissa", "olora"):
            raise ValueError(
                f"init {self.init} begins with the base's weights and init_from with a file: set init to kaiming"
            )
        if self.max_norm and self.init in ("pissa", "olora"):
            raise ValueError(f"max_norm scales factors down, and init {self.init} trains those of the weight itself")
        return self


class RotationSettings(DroppedSettings):
    """Kinds that turn a weight's outputs by orthogonal matrices."""

    scalable: ClassVar[bool] = False
    constraint: float = Field(
        0.0, ge=0, le=1, description="COFT: the skew matrices' norm is at most so many times the outputs; 0: any"
    )
    rescale: bool = Field(False, description="every output gets a length of its own, too")

    @model_validator(mode="after")
    def _means_something(self) -> "RotationSettings":
        check_whole_weight(self, "take module_dropout")
        check_no_scale(self)
        return self


def check_whole_weight(settings: AdapterSettings, fix: str) -> None:
    """Of a kind that makes a weight, and has no place for a dropout of what goes into it.

    Raises:
        ValueError: one is set.
    """
    if settings.dropout:
        raise ValueError(f"dropout {settings.dropout} means nothing for {settings.kind}, which makes a weight: {fix}")


def check_no_scale(settings: AdapterSettings) -> None:
    """Of a kind whose change has no scale.

    Raises:
        ValueError: an alpha is set that the kind would leave aside.
    """
    if settings.alpha != settings.rank:
        raise ValueError(f"alpha {settings.alpha:g} means nothing for {settings.kind}: leave it at rank")


ADAPTERS: Registry[Any] = Registry(
    "adapter",
    code="lorakiln.adapters",
    settings=__name__,
    base=AdapterSettings,
    besides=(
        "adapter",
        "checks",
        "formula",
        "formula_tensors",
        "lora_initialisation",
        "lora_network",
        "lora_product",
        "low_rank",
        "lycoris_to_lora",
        "networks",
        "peft_config",
        "protocol",
        "rotations",
        "targets",
    ),
)
