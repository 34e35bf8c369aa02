"""The stage `train`: a LoRA from encoded pictures, exactly resumable, the same on any number of devices."""

from lorakiln.train.stage import train

__all__ = ["train"]
