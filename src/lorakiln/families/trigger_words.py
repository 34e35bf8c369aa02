"""How a base model reads trigger words: what it knows already, and what it knows in pieces alone."""

from lorakiln.families.protocol import Family

PIECES = 3  # of a word, worth a warning
USUAL = 0.8  # of the words that the model reads as one token, the most usual ones; "sks" is among the others


def find_broken_words(family: Family, trigger: str) -> list[str]:
    """The words that the model reads in PIECES or more, each with them: "kilnling = kil + nl + ing". Such a word brings
    along what its pieces mean.
    """
    told = [(word, family.pieces(word)) for word in trigger.split()]
    return [f"{word} = {' + '.join(pieces)}" for word, pieces in told if len(pieces) >= PIECES]


def is_ordinary(family: Family, trigger: str) -> bool:
    """Whether all of the words are usual ones, so that the base has a picture of them already."""
    rarities = [family.rarity(word) for word in trigger.split()]
    return bool(rarities) and all(rarity is not None and rarity < USUAL for rarity in rarities)
