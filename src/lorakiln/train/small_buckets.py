"""Buckets of fewer pictures than a batch: a step there shows some of them twice."""

from collections.abc import Sequence

from lorakiln.console.errors import UserError
from lorakiln.schema.prepare import FindingSettings
from lorakiln.train.validation_split import ValidationSplit


def list_small_buckets(names: Sequence[str], split: ValidationSplit, batch: int) -> list[str]:
    """The buckets with fewer different pictures to train on than a batch has, and how many those are: ["64x16 (1)"].

    Args:
        names: of all buckets, in the split's order.
        batch: pictures of a step.
    """
    counts = [(name, len(set(rows))) for name, rows in zip(names, split.trained, strict=True)]
    return [f"{name} ({count})" for name, count in sorted(counts) if 0 < count < batch]


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
            fix="lower train.batch_size, add or crop pictures, or set prepare.findings.small_bucket=warn",
        )
