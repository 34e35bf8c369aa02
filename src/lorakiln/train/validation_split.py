"""Which pictures are held out for validation, and which are trained on."""

from dataclasses import dataclass

from lorakiln.artefacts.hashing import hash_data
from lorakiln.console.errors import UserError
from lorakiln.schema.train import ValidationSettings
from lorakiln.train.latents import Bucket


@dataclass(frozen=True)
class ValidationSplit:
    """Row numbers by bucket, in the buckets' order; both lists are as long as the list of buckets."""

    trained: list[list[int]]
    held_out: list[list[int]]

    @property
    def trained_count(self) -> int:
        return sum(map(len, self.trained))

    @property
    def held_out_count(self) -> int:
        return sum(map(len, self.held_out))


def hold_out(buckets: list[Bucket], settings: ValidationSettings) -> ValidationSplit:
    """Hold out the pictures whose hash(validation.seed, twin) is smallest, whatever the training's own seed is.

    So adding a picture changes the side of few others, and pictures that look the same (equal `twin`) are on one side,
    else validation would measure what was learned by heart. The number wanted is fraction x pictures, rounded, and at
    least one of 8 or more; twins may make it smaller. Without validation (`every: 0`) all pictures are trained on.

    Raises:
        UserError: there is no picture at all.
    """
    digests = sorted({row.likeness for bucket in buckets for row in bucket.rows})
    if not digests:
        raise UserError("there are no pictures to train on", fix="add pictures to the dataset's folder")
    chosen = _chosen(buckets, digests, settings)
    trained, held_out = (
        [[i for i, row in enumerate(b.rows) if (row.likeness in chosen) == side] for b in buckets]
        for side in (False, True)
    )
    return ValidationSplit(trained, held_out)


def count_held_out(pictures: int, settings: ValidationSettings) -> int:
    """How many of so many pictures are held out, twins aside."""
    if not settings.every or not settings.fraction:
        return 0
    return max(round(settings.fraction * pictures), 1 if pictures >= 8 else 0)


def _chosen(buckets: list[Bucket], digests: list[str], settings: ValidationSettings) -> set[str]:
    copies = dict.fromkeys(digests, 0)
    for bucket in buckets:
        for row in bucket.rows:
            copies[row.likeness] += 1
    left = count_held_out(sum(copies.values()), settings)
    chosen: set[str] = set()
    for digest in sorted(digests, key=lambda digest: hash_data(settings.seed, digest)):
        # One picture at least is left to train on.
        if copies[digest] <= left and len(chosen) + 1 < len(digests):
            chosen.add(digest)
            left -= copies[digest]
    return chosen
