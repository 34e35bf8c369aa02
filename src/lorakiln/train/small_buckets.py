"""Buckets of fewer pictures than a batch: a step there shows some of them twice."""

from collections import Counter
from collections.abc import Sequence

from lorakiln.console.errors import UserError
from lorakiln.schema.prepare import FindingSettings
from lorakiln.train.validation_split import ValidationSplit


def list_small_buckets(names: Sequence[str], split: ValidationSplit, batch: int) -> list[str]:
    """The buckets with fewer different pictures to train on than a batch has, and how many those are: ["64x16 (1)"];
    of a dataset that has its own batch with that, ["64x16 (1 for 4)"].

    Args:
        names: of all buckets, in the split's order.
        batch: pictures of a step, where a dataset says nothing else.
    """
    found = sorted(find_small_buckets(names, split, batch), key=lambda one: one[:2])
    return [f"{name} ({count}{'' if size is None else f' for {size}'})" for name, count, size in found]


def find_small_buckets(names: Sequence[str], split: ValidationSplit, batch: int) -> list[tuple[str, int, int | None]]:
    """The same as the bucket's name, how many pictures there are, and the dataset's own batch; None: it has none."""
    found = []
    for number, (name, rows) in enumerate(zip(names, split.trained, strict=True)):
        own = split.own_batches[number] if split.own_batches else [None] * len(rows)
        counts = Counter(dict(zip(rows, own, strict=True)).values())
        found += [(name, count, size) for size, count in counts.items() if count < (size or batch)]
    return found


def check_small_buckets(names: Sequence[str], split: ValidationSplit, batch: int, levels: FindingSettings) -> None:
    """Refuse such buckets where the settings call them an error; see `list_small_buckets`.

    Raises:
        UserError: with all of them.
    """
    small = list_small_buckets(names, split, batch)
    if small and levels.small_bucket == "error":
        raise UserError(
            f"buckets of fewer pictures than a batch of {batch}: {', '.join(small)}",
            where="prepare.findings.small_bucket",
            fix="lower train.batch_size, or the dataset's own, add pictures, or set prepare.findings.small_bucket=warn",
        )
