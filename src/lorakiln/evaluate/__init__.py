"""`evaluate`: what the LoRA does, in numbers, pictures and one report."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorakiln.evaluate.stage import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    # What can be drawn is asked before a training, without loading what judges pictures.
    if name == "evaluate":
        from lorakiln.evaluate.stage import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
