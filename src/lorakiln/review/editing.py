"""Changes to a dataset's hand edits: written as they are made, each file whole or not at all, and undone in turn."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from lorakiln.artefacts.fsync import AT_ONCE
from lorakiln.console.counts import format_count
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.review.collection import NOTHING, Collection, ShownPicture
from lorakiln.schema.base import check
from lorakiln.schema.picture_edit import PictureEdit
from lorakiln.sources.folder.captions import split_lines
from lorakiln.sources.folder.edits import read_edit, write_edit

Edits = dict[str, PictureEdit]  # by the pictures' names; NOTHING where there is no file
KEYS = ("caption", "crop", "excluded")


@dataclass
class Editor:
    """Changes a collection for one person at a time.

    Attributes:
        done, undone: what was there before each change that can be undone, and before each undoing.
    """

    collection: Collection
    done: list[Edits] = field(default_factory=list)
    undone: list[Edits] = field(default_factory=list)
    lock: RLock = field(default_factory=RLock)

    def change(self, changes: Mapping[str, Mapping[str, Any]]) -> list[ShownPicture]:
        """Write what is said of pictures; a key that is not named stays, None takes it away.

        Raises:
            UserError: there is no such picture, a value is none, or somebody else has changed one of the files; then
                nothing is written.
        """
        with self.lock:
            wanted = {name: self._merge(name, values) for name, values in changes.items()}
            before = self._write(wanted)
            if before:
                self.done.append(before)
                self.undone.clear()
            return [self.collection.pictures[name] for name in changes]

    def change_tags(self, names: Sequence[str], change: Callable[[str], str]) -> list[ShownPicture]:
        """Change the captions of many pictures alike; those that stay as they are get no edit.

        Args:
            change: from a caption to another; an empty one leaves the picture with the caption that it has.

        Raises:
            UserError: as `change`.
        """
        with self.lock:
            texts = {name: (old := self._find(name).caption, change(old)) for name in names}
            return self.change({name: {"caption": new} for name, (old, new) in texts.items() if new and new != old})

    def undo(self) -> list[ShownPicture]:
        """Take the last change back; nothing where there is none."""
        return self._go_back(self.done, self.undone)

    def redo(self) -> list[ShownPicture]:
        """Make the change again that was undone last."""
        return self._go_back(self.undone, self.done)

    def _go_back(self, taken: list[Edits], kept: list[Edits]) -> list[ShownPicture]:
        with self.lock:
            if not taken:
                return []
            before = self._write(taken[-1])
            kept.append(before)
            return [self.collection.pictures[name] for name in taken.pop()]

    def _find(self, name: str) -> ShownPicture:
        if name not in self.collection.pictures:
            raise UserError("no such picture in the dataset", where=name, fix="load the page again")
        return self.collection.pictures[name]

    def _merge(self, name: str, values: Mapping[str, Any]) -> PictureEdit:
        shown = self._find(name)
        told = {key: value for key, value in _tell(shown.edit).items() if key not in values}
        told |= {key: value for key, value in values.items() if value is not None and value is not False}
        if isinstance(text := told.get("caption"), str):
            told["caption"] = "\n".join(split_lines(text))
            if not told["caption"]:  # the picture's other captions are to count again
                del told["caption"]
        if not told:
            return NOTHING
        try:
            edit = check(PictureEdit, told)
        except ConfigError as error:
            raise UserError("; ".join(error.problems), where=name, fix="mend it") from error
        if edit.box and shown.size and (edit.box[2] > shown.size[0] or edit.box[3] > shown.size[1]):
            raise UserError(f"crop: {list(edit.box)} is not within its {shown.size}", where=name, fix="mend it")
        return edit

    def _write(self, wanted: Mapping[str, PictureEdit]) -> Edits:
        """Write the edits that differ; what was there instead.

        Many at once: each waits for the disk, and what waits together is written together.

        Raises:
            UserError: one could not be written; the others are.
        """
        differing = {name: edit for name, edit in wanted.items() if _tell(edit) != _tell(self._find(name).edit)}
        self._check_untouched(differing)
        before = {name: self._find(name).edit for name in differing}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            written = [
                pool.submit(write_edit, self.collection.raw, name, edit if _tell(edit) else None)
                for name, edit in differing.items()
            ]
        for name in differing:
            self.collection.read(name)
        for one in written:
            one.result()
        return before

    def _check_untouched(self, names: Iterable[str]) -> None:
        """Raise UserError, and show what is there now, where somebody else has changed an edit since it was read."""
        touched = []
        for name in names:
            follow = self.collection.rules.prepare.follow_symlinks
            now = read_edit(self.collection.raw, name, follow) or NOTHING
            if _tell(now) != _tell(self._find(name).edit):
                self.collection.read(name)
                touched.append(name)
        if touched:
            what = (
                f"the hand edits of {format_count(len(touched), 'picture')} were changed by somebody else: "
                f"{', '.join(touched[:5])}"
            )
            raise UserError(what, fix="look at what they say now, and make the change again")


def _tell(edit: PictureEdit) -> dict[str, Any]:
    """What an edit says: no key that says nothing."""
    told = {key: getattr(edit, key) for key in KEYS}
    return {key: value for key, value in told.items() if value is not None and value is not False}


def add_tag(tag: str, in_front: bool) -> Callable[[str], str]:
    """Puts a tag before or behind a caption's others; where it is already, the caption stays as it is."""

    def change(text: str) -> str:
        tags = split_tags(text)
        if tag.casefold() in map(str.casefold, tags):
            return text
        return ", ".join([tag, *tags] if in_front else [*tags, tag])

    return change


def replace_tag(old: str, new: str) -> Callable[[str], str]:
    """Puts a tag in the place of another, in any case, once; "" takes it out."""

    def change(text: str) -> str:
        tags = split_tags(text)
        if old.casefold() not in map(str.casefold, tags):
            return text
        kept = [new if tag.casefold() == old.casefold() else tag for tag in tags]
        return ", ".join(dict.fromkeys(tag for tag in kept if tag))

    return change


def split_tags(text: str) -> list[str]:
    """What is between commas and in lines, white space as single spaces."""
    return [tag for one in text.replace("\n", ",").split(",") if (tag := " ".join(one.split()))]
