"""One learning rate for all weights, as optimizers need it that estimate one distance."""

from collections.abc import Sequence
from typing import Any

from lorakiln.console.errors import UserError


def find_one_rate(groups: Sequence[dict[str, Any]], kind: str) -> float:
    """The rate of all groups that have not 0.

    Raises:
        UserError: there are several, as LoRA+ makes them.
    """
    rates = {group["lr"] for group in groups} - {0.0}
    if len(rates) > 1:
        told = ", ".join(f"{rate:g}" for rate in sorted(rates))
        raise UserError(
            f"{kind} finds one learning rate for all weights, and they are given several, {told}",
            where=f"train/optimizer={kind}",
            fix="the same rate for all parts and for both matrices of a LoRA, or another optimizer",
        )
    return max(rates, default=0.0)
