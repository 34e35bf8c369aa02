"""AdamW with moments of 8 bits (arXiv 2110.02861), bitsandbytes' own: the extra lorakiln[quantized]."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.optimizers import Betas, OptimizerSettings


class AdamW8bitSettings(OptimizerSettings):
    kind: Literal["adamw8bit"] = "adamw8bit"
    betas: Betas = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=100)
