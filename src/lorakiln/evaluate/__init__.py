"""`evaluate`: what the LoRA does, in numbers, pictures and one report."""

from lorakiln.evaluate.stage import evaluate

__all__ = ["evaluate"]
