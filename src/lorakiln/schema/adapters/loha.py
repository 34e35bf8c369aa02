"""LoHa (arXiv 2108.06098, 2309.14859): two low-rank matrices, multiplied element by element."""

from typing import Literal

from pydantic import model_validator

from lorakiln.schema.adapters import LimitedSettings, check_whole_weight


class LohaSettings(LimitedSettings):
    kind: Literal["loha"] = "loha"

    @model_validator(mode="after")
    def _has_no_dropout(self) -> "LohaSettings":
        check_whole_weight(self, "take rank_dropout or module_dropout")
        return self
