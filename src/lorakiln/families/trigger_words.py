"""How a base model reads trigger words: what it knows already, and what it knows in pieces alone."""

from collections.abc import Mapping, Sequence

from lorakiln.families.protocol import Family

PIECES = 3  # of a word, worth a warning
USUAL = 0.8  # of the words that the model reads as one token, the most usual ones; "sks" is among the others


def find_broken_words(family: Family, trigger: str) -> dict[str, list[str]]:
    """The pieces of each word that the model reads in PIECES or more. Such a word brings along what its pieces mean."""
    pieces = {word: family.pieces(word) for word in trigger.split()}
    return {word: several for word, several in pieces.items() if len(several) >= PIECES}


def format_pieces(broken: Mapping[str, Sequence[str]]) -> str:
    """ "kilnling = kil + nl + ing", one word after the other."""
    return "; ".join(f"{word} = {' + '.join(pieces)}" for word, pieces in broken.items())


def is_ordinary(family: Family, trigger: str) -> bool:
    """Whether all of the words are usual ones, so that the base has a picture of them already."""
    rarities = [family.rarity(word) for word in trigger.split()]
    return bool(rarities) and all(rarity is not None and rarity < USUAL for rarity in rarities)
