"""Texts that are drawn from a caption: rules, chance, and all that can come of them. Pure functions of strings."""

from lorakiln.captions.counting import Distribution, count_texts, find_distribution
from lorakiln.captions.drawing import draw_text, holds_wildcard, make_plain_text

__all__ = ["Distribution", "count_texts", "draw_text", "find_distribution", "holds_wildcard", "make_plain_text"]
