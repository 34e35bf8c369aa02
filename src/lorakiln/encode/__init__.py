"""`encode`: what training reads instead of pictures and captions: latents and text embeddings."""

from lorakiln.encode.stage import encode

__all__ = ["encode"]
