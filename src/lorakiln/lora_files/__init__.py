"""LoRA files as other programs read them: names of tensors, metadata, conversion."""
