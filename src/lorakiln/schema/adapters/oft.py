"""OFT (arXiv 2306.07280): the outputs are turned, block by block; `rank` is the blocks' side."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lorakiln.schema.adapters import DroppedSettings, check_no_scale, check_whole_weight


class OftSettings(DroppedSettings):
    scalable: ClassVar[bool] = False
    kind: Literal["oft"] = "oft"
    constraint: float = Field(
        0.0, ge=0, le=1, description="COFT: the skew matrices' norm is at most so many times the outputs; 0: any"
    )
    rescale: bool = Field(False, description="every output gets a length of its own, too")

    @model_validator(mode="after")
    def _means_something(self) -> "OftSettings":
        check_whole_weight(self, "take module_dropout")
        check_no_scale(self)
        return self
