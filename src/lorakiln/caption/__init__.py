"""`caption`: a text for every picture, from a file beside it or from a captioner."""

from lorakiln.caption.stage import caption

__all__ = ["caption"]
