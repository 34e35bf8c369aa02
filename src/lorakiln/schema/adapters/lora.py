"""LoRA (arXiv 2106.09685), by peft."""

from typing import Literal

from lorakiln.schema.adapters import PairSettings


class LoraSettings(PairSettings):
    kind: Literal["lora"] = "lora"
