"""`evaluate`: what the LoRA does, in numbers, pictures and one report."""

from lorakiln.evaluate.stage import check_drawing, evaluate

__all__ = ["check_drawing", "evaluate"]
