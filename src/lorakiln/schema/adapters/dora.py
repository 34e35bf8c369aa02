"""DoRA (arXiv 2402.09353): LoRA, and a length of its own for every output's weights."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lorakiln.schema.adapters import LowRankSettings, check_whole_weight


class DoraSettings(LowRankSettings):
    scalable: ClassVar[bool] = False
    kind: Literal["dora"] = "dora"
    init: Literal["kaiming", "gaussian"] = Field("kaiming", description="of A, with B = 0")
    rate_ratio: float = Field(1.0, gt=0, le=1000, description="LoRA+: B's learning rate is so many times A's")

    @model_validator(mode="after")
    def _has_no_dropout(self) -> "DoraSettings":
        check_whole_weight(self, "take rank_dropout or module_dropout")
        return self
