"""Muon (Jordan et al., 2024) for matrices, AdamW for vectors."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.optimizers import Beta, Betas, OptimizerSettings


class MuonSettings(OptimizerSettings):
    kind: Literal["muon"] = "muon"
    momentum: Beta = 0.95
    nesterov: bool = True
    weight_decay: float = Field(0.01, ge=0, le=100)
    ns_steps: int = Field(5, ge=1, le=99, description="Newton-Schulz iterations")
    adjust_lr_fn: Literal["original", "match_rms_adamw"] = Field(
        "match_rms_adamw",
        description="a matrix's rate: lr sqrt(max(1, rows / columns)), or 0.2 lr sqrt(max(rows, columns)), with which "
        "AdamW's rates serve (arXiv 2502.16982)",
    )
    betas: Betas = Field((0.9, 0.999), description="of AdamW, which moves what is no matrix")
    eps: float = Field(1e-8, gt=0, le=1, description="of AdamW")
