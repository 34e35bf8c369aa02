"""IA3 (arXiv 2205.05638): every output's weights times a number, or every input's; it has no rank."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorakiln.schema.adapters import DroppedSettings, check_no_scale, check_whole_weight
from lorakiln.schema.marks import Private


class Ia3Settings(DroppedSettings):
    kind: Literal["ia3"] = "ia3"
    on_input: Annotated[list[str], Private.NO] = Field(
        ["ff.net.2"], description="modules whose inputs are scaled and not their outputs, as `targets` names them"
    )

    @model_validator(mode="after")
    def _means_something(self) -> "Ia3Settings":
        check_whole_weight(self, "take module_dropout")
        check_no_scale(self)
        return self
