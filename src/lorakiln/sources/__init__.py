"""Where a dataset's pictures and captions come from: a module a kind, found by looking (`SOURCES`), and what each has.

What stands in data/raw/<dataset> tells the kind; it need not be named. A picture or a caption is known by its name in
the source, a path with slashes: outputs/prepared has the pictures under the same names.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lorakiln.console.errors import UserError
from lorakiln.schema.picture_edit import PictureEdit
from lorakiln.schema.registry import Registry
from lorakiln.schema.subset_rules import PictureRules, SubsetRules

FOLDER = "folder"  # what is no other kind's
AUTO = "auto"
ALIKE = " (prepare.source=folder takes all alike)"  # behind what told the subsets


@dataclass(frozen=True)
class UnusableFile:
    """A file that cannot be used.

    Attributes:
        source: its path below the dataset's folder.
        reason: what is wrong, the same words for all files of its kind.
        fix: what to do about it.
        detail: what is particular to this file.
    """

    source: str
    reason: str
    fix: str
    detail: str = ""

    def record(self) -> dict[str, str]:
        reason = f"{self.reason}: {self.detail}" if self.detail else self.reason
        return {"source": self.source, "reason": reason, "fix": self.fix}


@dataclass(frozen=True)
class CaptionProblem:
    """A picture without a usable caption.

    Attributes:
        file: the one at fault, below the dataset's folder.
        what: what is wrong, the same words for all files of its kind.
        detail: what is particular to this one.
    """

    file: str
    what: str
    fix: str
    detail: str = ""

    def describe(self) -> str:
        """What is wrong, with what is particular to this file, as one line."""
        return f"{self.what} ({self.detail})" if self.detail else self.what


@dataclass(frozen=True)
class Subset:
    """What a source says of some of its pictures together.

    Attributes:
        repeats: how often an epoch shows each of them, times train.repeats.
        is_reg: whether they are regularisation pictures, of what the base shall go on to know.
        class_tokens: the caption of those that have no other; "": none.
        rules, pictures: what is another for them than for the rest of the experiment.
        where: the source says so, for messages.
    """

    repeats: int = 1
    is_reg: bool = False
    class_tokens: str = ""
    rules: SubsetRules = SubsetRules()
    pictures: PictureRules = PictureRules()
    where: str = field(default="", compare=False)


@dataclass
class SourceContents:
    """What a source holds; names are paths with slashes.

    Attributes:
        pictures: sorted, no two equal but for ending, case or accents' encoding: they would share one output.
        bad: what looks like a picture and cannot be one.
        others: how many files there are of every other ending.
        misnamed: files that are pictures by their first bytes and not by their names, with the ending that they lack.
        subsets: of the pictures that are in one.
        once_more: of pictures that are another's file once more, for another subset, that file.
        aside: folders with pictures that are not taken, with how many there are.
        masks: of the pictures that have some, as files; one each, where it can be used.
        lonely_masks: files that are masks of none of the pictures.
        edits: by hand, of the pictures that have one.
        excluded: pictures that a hand edit leaves out, sorted.
        lonely_edits: files that are called as hand edits and are of none of the pictures.
        read_by: what told the subsets, for messages.
        remarks: lines about what the source says and nobody takes.
    """

    pictures: list[str] = field(default_factory=list)
    bad: list[UnusableFile] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    misnamed: dict[str, str] = field(default_factory=dict)
    subsets: dict[str, Subset] = field(default_factory=dict)
    once_more: dict[str, str] = field(default_factory=dict)
    aside: Counter[str] = field(default_factory=Counter)
    masks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lonely_masks: list[str] = field(default_factory=list)
    edits: dict[str, PictureEdit] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)
    lonely_edits: list[str] = field(default_factory=list)
    read_by: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """The pictures' files, each once."""
        return [name for name in self.pictures if name not in self.once_more]

    def is_reg(self, picture: str) -> bool:
        """Whether it is a regularisation picture."""
        return picture in self.subsets and self.subsets[picture].is_reg


class Captions(Protocol):
    """The captions that people wrote for the pictures of a source."""

    def find(self, picture: str) -> str | None:
        """The name of what a picture's caption stands in, which may be that of others too; None if it has none."""

    def read(self, name: str, picture: str) -> str | CaptionProblem:
        """A picture's text with all white space, line ends included, as single spaces; or why it cannot be used."""

    def read_lines(self, name: str, picture: str) -> list[str] | CaptionProblem:
        """Its lines as captions of their own, one at least, white space as single spaces; or why there are none."""

    def without_picture(self, pictures: Sequence[str]) -> Iterator[str]:
        """The names of captions that belong to none of the pictures, sorted."""


class PictureSource(Protocol):
    """The pictures and captions of one dataset. It is sent to other processes: it can be pickled."""

    def scan(self) -> SourceContents:
        """Find all pictures, without opening them."""

    def picture(self, name: str) -> AbstractContextManager[Path]:
        """A picture, or a mask, as a file, which is there while the context lasts and is only read.

        Raises:
            OSError: it is not there any more, or cannot be read.
        """

    def captions(self, endings: Sequence[str], precedence: Sequence[str]) -> Captions:
        """The captions.

        Args:
            endings: of caption files, where a source has such; of several for one picture the first wins.
            precedence: of a picture's captions which wins, where a source can have several; see `caption.precedence`.
        """


class SourceKind(Protocol):
    """A module `sources/<kind>.py`."""

    def recognise(self, raw: Path) -> bool:
        """Whether the dataset's folder holds a source of this kind: told by names, nothing is read to its end."""

    def open_source(self, raw: Path, follow_symlinks: bool) -> PictureSource:
        """The source in the dataset's folder.

        Args:
            follow_symlinks: read through links that lead out of the folder.
        """


SOURCES: Registry[SourceKind] = Registry("dataset source", code="lorakiln.sources")


def open_source(raw: Path, follow_symlinks: bool = False, kind: str = AUTO) -> PictureSource:
    """What a dataset's folder holds, as the kind that recognises it; a folder of pictures if none does.

    Args:
        kind: a kind's name, if it shall be read as that.

    Raises:
        UserError: several kinds do; or there is no such kind.
    """
    if kind != AUTO:
        if kind not in SOURCES.names:
            known = ", ".join([AUTO, *SOURCES.names])
            raise UserError(f"no kind of dataset source {kind!r}", where="prepare.source", fix=f"one of {known}")
        return SOURCES.find(kind).open_source(raw, follow_symlinks)
    names = [name for name in SOURCES.names if name != FOLDER and SOURCES.find(name).recognise(raw)]
    if len(names) > 1:
        what = f"can be read as {' and as '.join(names)}"
        raise UserError(what, where=raw, fix="name one in prepare.source, or put the other into another dataset")
    return SOURCES.find(names[0] if names else FOLDER).open_source(raw, follow_symlinks)
