"""The `export` stage: a trained adapter as the files that other programs load, read back before it counts."""

from lorakiln.export.stage import export

__all__ = ["export"]
