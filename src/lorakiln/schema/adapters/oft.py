"""OFT (arXiv 2306.07280): the outputs are turned, block by block; `rank` is the blocks' side."""

from typing import Literal

from lorakiln.schema.adapters import RotationSettings


class OftSettings(RotationSettings):
    kind: Literal["oft"] = "oft"
