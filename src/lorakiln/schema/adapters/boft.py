"""BOFT (arXiv 2311.06243): the outputs are turned in stages, as a butterfly; `rank` is the blocks' largest side."""

from typing import Literal

from lorakiln.schema.adapters import RotationSettings


class BoftSettings(RotationSettings):
    kind: Literal["boft"] = "boft"
