"""What lines and {a|b} of captions will be in training: a file does not show it, and either may be a slip."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lorakiln.captions import holds_wildcard
from lorakiln.console.counts import format_count
from lorakiln.console.terminal_text import escape_line

LISTED = 5  # names


@dataclass
class TextForms:
    """The forms of a dataset's captions, which are noted one by one.

    Attributes:
        joined: pictures whose captions have several lines and are one text.
        apart: those of which each line is a caption of its own.
        wild: those with a {a|b}.
    """

    joined: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    wild: list[str] = field(default_factory=list)

    def take(self, picture: str, lines: Sequence[str], by_line: bool) -> list[str]:
        """The texts that the lines of a caption are, one at least, once their form is noted.

        Args:
            by_line: whether each is one, as `caption.lines` says.
        """
        if len(lines) > 1:
            (self.apart if by_line else self.joined).append(picture)
        texts = list(lines) if by_line else [" ".join(lines)]
        if any(map(holds_wildcard, texts)):
            self.wild.append(picture)
        return texts

    def describe(self) -> list[str]:
        """A line for each form that there is: what becomes of it, the setting that decides it, and names."""
        told = {
            "several lines, joined to one text; caption.lines=true takes each as a caption of its own": self.joined,
            "several lines, each a caption of its own, of which training draws one (caption.lines=false joins them)": (
                self.apart
            ),
            "{a|b}, whose braces are trained on as text unless encode.captions.wildcards=true draws one of its parts": (
                self.wild
            ),
        }
        return [
            f"{format_count(len(names), 'caption')} with {what}: {_list(names)}"
            for what, names in told.items()
            if names
        ]


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(escape_line, names[:LISTED])) + (", ..." if len(names) > LISTED else "")
