"""Who writes captions: a module a kind, found by its name (`schema.captioners.CAPTIONERS`), and what each has."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lorakiln.schema.captioners import CAPTIONERS, CaptionSettings
from lorakiln.schema.model import Source


class Captioner(Protocol):
    """Writes captions; what takes time to load it loads when it is asked to write."""

    def identify(self) -> dict[str, Any]:
        """All that decides its answers beside the settings, JSON-able: its model by content, or by name and revision.

        Raises:
            UserError: what the model's config names cannot be a captioner of this kind.
        """

    def write(self, pictures: Sequence[Path], done: Callable[[int, str], object]) -> Iterator[str]:
        """A caption for every picture in turn, without trigger words; "" where it has nothing to say.

        What it writes of a picture depends on that picture alone, not on those that it is asked about with it.

        Args:
            pictures: RGB files, upright.
            done: is told how many captions are ready more than before, and the last of them.

        Raises:
            UserError: it is not there, cannot be reached or loaded.
        """


@dataclass(frozen=True)
class Link:
    """A captioner, and the settings that decide what it writes."""

    captioner: Captioner
    settings: CaptionSettings


@dataclass(frozen=True)
class Chain:
    """Who is asked about a picture, one after the other, and what stands between what each has written."""

    links: tuple[Link, ...]
    separator: str = ""

    def join(self, texts: Iterable[str]) -> str:
        """The caption of a picture of which each has written one of these, "" included."""
        return self.separator.join(text for text in texts if text)


class CaptionerKind(Protocol):
    """A module `captioners/<kind>.py`; its settings are `schema/captioners/<kind>.py`."""

    def make_captioner(self, source: Source, settings: Any) -> Captioner | Chain | None:
        """A captioner, or several; None if nobody writes, and pictures without a caption file get the trigger words
        alone.

        Args:
            source: where the model is.
            settings: of this kind.
        """


def open_captioner(settings: CaptionSettings, suiting: Source) -> Chain | None:
    """Who writes by some settings, a chain of one in most cases; None if nobody does.

    Args:
        suiting: `model.captioner`, the base's, where the settings name no model of their own.
    """
    kind: CaptionerKind = CAPTIONERS.find(settings.captioner)
    made = kind.make_captioner(settings.source or suiting, settings)
    return made if made is None or isinstance(made, Chain) else Chain((Link(made, settings),))
