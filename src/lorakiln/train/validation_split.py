"""Which pictures are held out for validation, and which are trained on, how often."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from lorakiln.artefacts.hashing import hash_data
from lorakiln.console.errors import UserError
from lorakiln.schema.subset_rules import SubsetRules
from lorakiln.schema.train import ValidationSettings


class SplitRow(Protocol):
    """What of a picture decides on which side it is; see `rows.EncodedRow`."""

    @property
    def likeness(self) -> str: ...
    @property
    def is_reg(self) -> bool: ...
    @property
    def repeats(self) -> int: ...
    @property
    def rules(self) -> SubsetRules: ...


class SplitBucket(Protocol):
    """Pictures of one size, encoded or still to be."""

    @property
    def rows(self) -> Sequence[SplitRow]: ...


@dataclass(frozen=True)
class ValidationSplit:
    """Row numbers by bucket, in the buckets' order; both lists are as long as the list of buckets.

    Attributes:
        trained: what an epoch shows, a row as often as it is repeated.
        own_batches: of these each one's own batch, None for those that have none.
    """

    trained: list[list[int]]
    held_out: list[list[int]]
    own_batches: list[list[int | None]] = field(default_factory=list)

    def count_batches(self, usual: int) -> Fraction:
        """How many steps show all of an epoch.

        Args:
            usual: the batch of the pictures that have none of their own.
        """
        if not self.own_batches:
            return Fraction(self.trained_count, usual)
        counts = Counter(one or usual for bucket in self.own_batches for one in bucket)
        return sum((Fraction(count, batch) for batch, count in counts.items()), Fraction(0))

    def list_batches(self, usual: int) -> list[int]:
        """The sizes of all batches, sorted."""
        return sorted({one or usual for bucket in self.own_batches for one in bucket} or {usual})

    @property
    def trained_count(self) -> int:
        """Pictures that an epoch shows, repeats counted."""
        return sum(map(len, self.trained))

    @property
    def picture_count(self) -> int:
        """Different pictures that are trained on, those for regularisation among them."""
        return sum(len(set(rows)) for rows in self.trained)

    @property
    def held_out_count(self) -> int:
        return sum(map(len, self.held_out))


def hold_out(buckets: Sequence[SplitBucket], settings: ValidationSettings) -> ValidationSplit:
    """Hold out the pictures whose hash(validation.seed, twin) is smallest, whatever the training's own seed is.

    So adding a picture changes the side of few others, and pictures that look the same (equal `twin`) are on one side,
    else validation would measure what was learned by heart. The number wanted is fraction x pictures, rounded, and at
    least one of 8 or more; twins may make it smaller. Without validation (`every: 0`) all pictures are trained on.
    Regularisation pictures are never held out.

    Raises:
        UserError: there is no picture at all.
    """
    digests = sorted({row.likeness for bucket in buckets for row in bucket.rows if not row.is_reg})
    if not digests:
        raise UserError("there are no pictures to train on", fix="add pictures to the dataset's folder")
    chosen = _chosen(buckets, digests, settings)
    trained, held_out = (
        [[i for i, row in enumerate(b.rows) if (row.likeness in chosen and not row.is_reg) == side] for b in buckets]
        for side in (False, True)
    )
    shown = repeat_rows(buckets, trained)
    return ValidationSplit(shown, held_out, list_own_batches(buckets, shown))


def list_own_batches(buckets: Sequence[SplitBucket], trained: Sequence[Sequence[int]]) -> list[list[int | None]]:
    """By bucket the own batch of each row that is trained on, None where it has none; [] if none has.

    Args:
        trained: the rows' numbers, by bucket.
    """
    # Where memory is counted a bucket has shapes and no rows.
    shown = [(bucket.rows, rows) for bucket, rows in zip(buckets, trained, strict=True)]
    own = [[known[row].rules.batch_size if known else None for row in rows] for known, rows in shown]
    return own if any(one is not None for bucket in own for one in bucket) else []


def repeat_rows(buckets: Sequence[SplitBucket], trained: list[list[int]]) -> list[list[int]]:
    """The rows as often as an epoch shows them.

    Regularisation pictures are as many as the others, repeats counted, as in sd-scripts: in the buckets' order each
    counts by its own repeats until they are enough, those that are left over are not used; where they are not enough,
    they go round, each once more.
    """
    places = [(bucket, row) for bucket, rows in enumerate(trained) for row in rows]
    times = {(bucket, row): buckets[bucket].rows[row].repeats for bucket, row in places}
    regularising = [place for place in places if buckets[place[0]].rows[place[1]].is_reg]
    left = sum(times[place] for place in places) - sum(times[place] for place in regularising)
    for place in regularising:
        times[place] = min(times[place], left)
        left -= times[place]
    for number in range(left if regularising else 0):
        times[regularising[number % len(regularising)]] += 1
    return [[row for row in rows for _ in range(times[bucket, row])] for bucket, rows in enumerate(trained)]


def count_held_out(pictures: int, settings: ValidationSettings) -> int:
    """How many of so many pictures are held out, twins aside."""
    if not settings.every or not settings.fraction:
        return 0
    return max(round(settings.fraction * pictures), 1 if pictures >= 8 else 0)


def _chosen(buckets: Sequence[SplitBucket], digests: list[str], settings: ValidationSettings) -> set[str]:
    copies = dict.fromkeys(digests, 0)
    for bucket in buckets:
        for row in bucket.rows:
            if not row.is_reg:
                copies[row.likeness] += 1
    left = count_held_out(sum(copies.values()), settings)
    chosen: set[str] = set()
    for digest in sorted(digests, key=lambda digest: hash_data(settings.seed, digest)):
        # One picture at least is left to train on.
        if copies[digest] <= left and len(chosen) + 1 < len(digests):
            chosen.add(digest)
            left -= copies[digest]
    return chosen
