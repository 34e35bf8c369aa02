"""What a LoRA is worth by its pictures, beside the base's and the training pictures; see docs/evaluation.md."""

WORTH = "worth"  # in metrics.json, and for a sweep that looks for it
