"""Pictures that look the same: another size, another compression, a hair's breadth cropped."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL.Image import Resampling

# Of 512 bits. The same picture at half the size or as a poor JPEG differs in up to 18, cropped by 2% on each side in
# up to 42; different drawings of one character, and photographs of one dog in one place, in 98 and more.
MOST_BITS = 48
MOST_COLOUR = 24  # of 255, in each cell of 4x4
MOST_PICTURES = 20_000  # all pairs are compared: beyond this it takes minutes


def compute_look(image: Image.Image) -> str:
    """What an RGB picture looks like from afar, in hexadecimal digits: where it gets lighter and darker from left to
    right in 16x16 cells (a difference hash), and the mean colours of 4x4 cells."""
    shades = np.asarray(image.convert("L").resize((17, 16), Resampling.LANCZOS), dtype=np.int16)
    steps = np.diff(shades, axis=1)
    bits = np.packbits(np.concatenate([(steps > 1).ravel(), (steps < -1).ravel()]))
    colours = np.asarray(image.convert("RGB").resize((4, 4), Resampling.BOX), dtype=np.uint8)
    return bits.tobytes().hex() + colours.tobytes().hex()


def find_near_duplicates(looks: Sequence[str]) -> list[list[int]]:
    """Groups of numbers of pictures that look the same, each with two or more; none beyond MOST_PICTURES.

    Args:
        looks: as `compute_look` gives them; likeness is passed on: if a is like b and b like c, all three are one
            group.
    """
    if len(looks) > MOST_PICTURES:
        return []
    raw = np.frombuffer(bytes.fromhex("".join(looks)), dtype=np.uint8).reshape(len(looks), -1)
    bits = np.ascontiguousarray(raw[:, :64]).view(np.uint64)
    colours = raw[:, 64:].astype(np.int16)
    group = list(range(len(looks)))
    for number in range(len(looks) - 1):
        others = slice(number + 1, None)
        near = np.bitwise_count(bits[others] ^ bits[number]).sum(axis=1, dtype=np.int16) <= MOST_BITS
        for other in np.flatnonzero(near) + number + 1:
            if np.abs(colours[other] - colours[number]).max() <= MOST_COLOUR:
                _join(group, number, int(other))
    found: dict[int, list[int]] = {}
    for number in range(len(looks)):
        found.setdefault(_root(group, number), []).append(number)
    return [numbers for numbers in found.values() if len(numbers) > 1]


def _root(group: list[int], number: int) -> int:
    while group[number] != number:
        number = group[number]
    return number


def _join(group: list[int], one: int, other: int) -> None:
    low, high = sorted((_root(group, one), _root(group, other)))
    group[high] = low
