"""`prepare`: from raw pictures to decoded, upright, sRGB pictures in aspect-ratio buckets."""

from lorakiln.prepare.stage import prepare

__all__ = ["prepare"]
