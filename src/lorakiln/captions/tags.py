"""Tags as boorus spell them, and as captions do: "long_hair" and "long hair"."""

import re

SHORT = 3  # letters: what is no longer is a face, "o_o", or has no underscore that would be a space
# Longer ones, which mirror two eyes: "(o)_(o)", "<|>_<|>", "||_||".
_FACE = re.compile(r"([^\w\s]\S?[^\w\s])_\1")


def spell_tag(tag: str) -> str:
    """Underscores become spaces, as bases that were trained on tags know them, but for those of faces."""
    return tag if len(tag) <= SHORT or _FACE.fullmatch(tag) else " ".join(tag.replace("_", " ").split())
