"""`evaluate`: what the LoRA does, in numbers, pictures and one report."""

from lorakiln.evaluate.material import check_drawing
from lorakiln.evaluate.stage import evaluate

__all__ = ["check_drawing", "evaluate"]
