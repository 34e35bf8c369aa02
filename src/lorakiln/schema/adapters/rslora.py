"""Rank-stabilised LoRA (arXiv 2312.03732): the update is scaled by alpha / sqrt(rank)."""

from typing import Literal

from lorakiln.schema.adapters import PairSettings


class RsLoraSettings(PairSettings):
    kind: Literal["rslora"] = "rslora"
