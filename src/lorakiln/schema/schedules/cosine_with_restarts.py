"""Half a cosine, `cycles` times over (arXiv 1608.03983)."""

from typing import Literal

from lorakiln.schema.schedules import SwappableSettings


class CosineWithRestartsSettings(SwappableSettings):
    kind: Literal["cosine_with_restarts"] = "cosine_with_restarts"
