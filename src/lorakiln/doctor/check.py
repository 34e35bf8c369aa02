"""What one look or trial came to."""

from dataclasses import dataclass, field
from typing import Any, Literal

from lorakiln.console.errors import UserError

Status = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: one word.
        what: what was found, in one line.
        fix: what to do about it; "" where there is nothing to do.
        facts: the numbers behind it, JSON-able.
    """

    name: str
    status: Status
    what: str
    fix: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        line = f"{self.status:8} {self.name:10} {self.what}"
        return line + (f"\n{'':19} fix: {self.fix}" if self.fix else "")


def make_failed_check(name: str, error: UserError) -> Check:
    """The check that an error makes."""
    what = error.what if error.where is None else f"{error.where}: {error.what}"
    return Check(name, "wrong", " ".join(what.split()), " ".join(error.fix.split()))


def make_skipped_check(name: str, because: str) -> Check:
    """A trial for which another one would have had to succeed."""
    return Check(name, "skipped", f"not tried: {because}")
