"""Down to zero on half a cosine, SGDR without restarts (arXiv 1608.03983)."""

from typing import Literal

from lorakiln.schema.schedules import SwappableSettings


class CosineSettings(SwappableSettings):
    kind: Literal["cosine"] = "cosine"
