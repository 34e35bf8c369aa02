"""LoRA (arXiv 2106.09685), by peft."""

from typing import Literal

from lorakiln.schema.adapters import AdapterSettings


class LoraSettings(AdapterSettings):
    kind: Literal["lora"] = "lora"
