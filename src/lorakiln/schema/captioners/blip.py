"""BLIP (arXiv 2201.12086)."""

from typing import Literal

from lorakiln.schema.captioners import TextModelSettings


class BlipSettings(TextModelSettings):
    captioner: Literal["blip"] = "blip"
