"""The stage `train`: a LoRA from encoded pictures, exactly resumable, the same on any number of devices."""

from typing import Any

from lorakiln.train.tracker import Tracker, resume_tracker

__all__ = ["Tracker", "resume_tracker", "train"]


def __getattr__(name: str) -> Any:
    # Later stages import the tracker from here; they need not wait seconds for Lightning.
    if name == "train":
        from lorakiln.train.stage import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
