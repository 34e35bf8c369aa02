"""Pictures that look the same: another size, another compression, cropped by 1 or 2%."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL.Image import Resampling

# Of 512 bits. Ten photographs at half the size, 10% brighter or as poor JPEGs differ from themselves in up to 27,
# cropped by 2% on each side in 31 to 51, in up to 73 where the ground is rough. Different ones of one dog or toy, and
# drawings of one character, differ in 98 and more. Drawn faces that differ by their expression alone begin at 68.
MOST_BITS = 60
MOST_COLOUR = 24  # of 255, in each cell of 4x4
SMALL = 200  # pictures that are compared pair by pair: a cut costs as much
SAMPLE = 256  # pictures by which a cut is chosen
AT_ONCE = 1 << 20  # pairs, of 20 bytes
FIRST_WORDS = (1, 3, 6)  # of eight: bands of what gets lighter and of what gets darker


def compute_perceptual_hash(image: Image.Image) -> str:
    """What an RGB picture looks like from afar, in hexadecimal digits: where it gets lighter and darker from left to
    right in 16x16 cells (a difference hash), and the mean colours of 4x4 cells."""
    shades = np.asarray(image.convert("L").resize((17, 16), Resampling.LANCZOS), dtype=np.int16)
    steps = np.diff(shades, axis=1)
    bits = np.packbits(np.concatenate([(steps > 1).ravel(), (steps < -1).ravel()]))
    colours = np.asarray(image.convert("RGB").resize((4, 4), Resampling.BOX), dtype=np.uint8)
    return bits.tobytes().hex() + colours.tobytes().hex()


def find_near_duplicates(looks: Sequence[str]) -> list[list[int]]:
    """Groups of numbers of pictures that look the same, each with two or more, in order.

    They are those that a comparison of all with all would find: see `_join_alike`.

    Args:
        looks: as `compute_perceptual_hash` gives them; likeness is passed on: if a is like b and b like c, all three
            are one group.
    """
    if not looks:
        return []
    raw = np.frombuffer(bytes.fromhex("".join(looks)), dtype=np.uint8).reshape(len(looks), -1)
    different, kind = np.unique(raw, axis=0, return_inverse=True)
    root = _join_alike(different)
    groups: dict[int, list[int]] = {}
    for number, of in enumerate(_find_roots(root, kind).tolist()):
        groups.setdefault(of, []).append(number)
    return [numbers for numbers in groups.values() if len(numbers) > 1]


def _join_alike(different: np.ndarray) -> np.ndarray:
    """For each the number of another of its group, (N,), by which `_find_roots` finds the first.

    A set is cut in two by a measure in which like pictures differ by `reach` at most: those up to m, and those above
    m - reach. Of two that are alike both are in the first, or both in the second, so that none is missed. Sets that
    are small, or that no measure parts, are compared pair by pair.

    Args:
        different: (N, 112) bytes.
    """
    bits = np.ascontiguousarray(different[:, :64]).view(np.uint64)
    colours = different[:, 64:].astype(np.int16)
    root, waiting = np.arange(len(different)), [np.arange(len(different))]
    while waiting:
        members = waiting.pop()
        halves = _cut(members, bits, colours) if len(members) > SMALL else None
        if halves is None:
            _compare_all(members, bits, colours, root)
        else:
            waiting += halves
    return root


def _cut(members: np.ndarray, bits: np.ndarray, colours: np.ndarray) -> list[np.ndarray] | None:
    """The two sets, by the measure that saves most comparisons; None: none saves a quarter of them.

    Measures are the colours of single cells, and how many bits are another than a picture's that is unlike the first.
    """
    some = members[:: -(-len(members) // SAMPLE)]
    pole = bits[some[_count_bits(bits[some], bits[some[0]]).argmax()]]
    measured = np.column_stack([colours[some], _count_bits(bits[some], pole)])
    reach = np.array([MOST_COLOUR] * colours.shape[1] + [MOST_BITS], dtype=np.int16)
    best, chosen = 0.75, None
    for share in (0.25, 0.5, 0.75):
        cuts = np.quantile(measured, share, axis=0, method="lower")
        costs = (measured <= cuts).mean(axis=0) ** 2 + (measured > cuts - reach).mean(axis=0) ** 2
        if costs.min() < best:
            best, measure = float(costs.min()), int(costs.argmin())
            chosen = measure, cuts[measure], reach[measure]
    if chosen is None:
        return None
    measure, cut, width = chosen
    values = colours[members, measure] if measure < colours.shape[1] else _count_bits(bits[members], pole)
    return [members[values <= cut], members[values > cut - width]]


def _compare_all(members: np.ndarray, bits: np.ndarray, colours: np.ndarray, root: np.ndarray) -> None:
    """Join the pairs among a few pictures, every one compared with every later one, a bounded number at once."""
    words, rows = bits[members].T.copy(), max(1, AT_ONCE // max(1, len(members)))
    for at in range(0, len(members) - 1, rows):
        here, later = slice(at, at + rows), slice(at + 1, None)
        # What three words of eight say rules out nearly all; and of a thousand alike most are in one group already.
        counted = sum(np.bitwise_count(words[word, here][:, None] ^ words[word, later]) for word in FIRST_WORDS)
        group = _find_roots(root, members)
        one, other = np.nonzero((counted <= MOST_BITS) & (group[here][:, None] != group[later]))
        keep = other >= one
        one, other = members[one[keep] + at], members[other[keep] + at + 1]
        near = _count_bits(bits[one], bits[other]) <= MOST_BITS
        one, other = one[near], other[near]
        like = (np.abs(colours[one] - colours[other]) <= MOST_COLOUR).all(axis=1)
        _join(root, one[like], other[like])


def _count_bits(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """In how many bits they differ, (N,)."""
    count: np.ndarray = np.bitwise_count(some ^ others).sum(axis=-1, dtype=np.int16)
    return count


def _find_roots(root: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The smallest number of the group of each, (K,)."""
    found: np.ndarray = root[numbers]
    while (root[found] != found).any():
        found = root[found]
    return found


def _join(root: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    """Make each pair one group."""
    while True:
        roots = np.stack([_find_roots(root, one), _find_roots(root, other)])
        apart = roots[0] != roots[1]
        if not apart.any():
            return
        one, other = one[apart], other[apart]
        np.minimum.at(root, roots.max(axis=0)[apart], roots.min(axis=0)[apart])
