"""`lorakiln compare`: LoRA files, ours or not, side by side by the measures that choose a saved step."""

from lorakiln.compare.stage import compare_files

__all__ = ["compare_files"]
