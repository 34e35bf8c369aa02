"""`choose`: which saved step of a run, at which weight, by pictures that are drawn with each."""

from lorakiln.choose.stage import choose

__all__ = ["choose"]
