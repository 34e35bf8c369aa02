"""LoKr (arXiv 2309.14859): the Kronecker product of two matrices, of which the larger one is of low rank."""

from typing import Literal

from pydantic import Field, model_validator

from lorakiln.schema.adapters import LimitedSettings, check_whole_weight


class LokrSettings(LimitedSettings):
    kind: Literal["lokr"] = "lokr"
    factor: int = Field(
        8, ge=-1, le=4096, description="the first matrix's sides, or the next divisors below; -1: both about as large"
    )
    decompose_both: bool = Field(False, description="the first matrix is of low rank too, where that is smaller")
    full_matrix: bool = Field(False, description="neither is of low rank, and rank and alpha count for nothing")

    @model_validator(mode="after")
    def _means_something(self) -> "LokrSettings":
        check_whole_weight(self, "take rank_dropout or module_dropout")
        if self.factor == 0:
            raise ValueError("factor 0 divides nothing: set -1, or 1 or more")
        if self.full_matrix and self.decompose_both:
            raise ValueError("decompose_both asks for factors of low rank, and full_matrix for none: set one of them")
        return self
