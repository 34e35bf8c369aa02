"""The stage `train`: a LoRA from encoded pictures, exactly resumable, the same on any number of devices."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorakiln.train.stage import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    # What counts a training's steps beforehand is asked without loading what trains.
    if name == "train":
        from lorakiln.train.stage import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
