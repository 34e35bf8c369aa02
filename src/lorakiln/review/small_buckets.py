"""Which buckets have fewer pictures to train on than a batch, as the training will find them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lorakiln.console.errors import UserError
from lorakiln.schema.subset_rules import SubsetRules
from lorakiln.schema.train import ValidationSettings
from lorakiln.sources import Subset
from lorakiln.train.small_buckets import find_small_buckets
from lorakiln.train.validation_split import hold_out


@dataclass(frozen=True)
class TrainedPicture:
    """What of a picture decides whether it is trained on, and how often.

    Attributes:
        likeness: equal for pictures that look the same; "": nobody has looked.
        subset: what its source says of it.
    """

    likeness: str
    subset: Subset

    @property
    def is_reg(self) -> bool:
        return self.subset.is_reg

    @property
    def repeats(self) -> int:
        return self.subset.repeats

    @property
    def rules(self) -> SubsetRules:
        return self.subset.rules


@dataclass(frozen=True)
class _Bucket:
    rows: Sequence[TrainedPicture]


def describe_small_buckets(
    buckets: Mapping[str, Sequence[TrainedPicture]], batch: int, validation: ValidationSettings
) -> dict[str, str]:
    """In words, by the buckets' names: {"64x64": "2 to train on, fewer than a batch of 4"}.

    Which pictures are held out follows from what they look like. Where that is not known of all none is, so that what
    is told is true in any case.
    """
    if not all(one.likeness for bucket in buckets.values() for one in bucket):
        validation = validation.model_copy(update={"every": 0, "fraction": 0.0})
    try:
        split = hold_out([_Bucket(rows) for rows in buckets.values()], validation)
    except UserError:
        return {}  # there is nothing to train on
    found: dict[str, list[str]] = {}
    for name, count, size in find_small_buckets(list(buckets), split, batch):
        found.setdefault(name, []).append(f"{count} to train on, fewer than a batch of {size or batch}")
    return {name: "; ".join(told) for name, told in found.items()}
