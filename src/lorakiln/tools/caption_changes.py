"""A captioned folder beside its dataset: captions taken out for editing, and what the next run changes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import cast

from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.artefacts.json_files import write_text
from lorakiln.caption.hand_edits import read_texts
from lorakiln.caption.trigger import adapt_settings, complete_text, strip_text
from lorakiln.console.errors import UserError
from lorakiln.facts.dataset import Dataset
from lorakiln.rows import CaptionedRow, read_captioned, select_files
from lorakiln.schema.base import Validator, check
from lorakiln.schema.captioners import CAPTIONERS, CaptionSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.sources import CaptionProblem, Captions, PictureSource, open_source

NEW, GONE = "a new picture, or one that `prepare` refuses", "the picture is not there any more"


@dataclass(frozen=True)
class CaptionExport:
    """A caption file that is not there yet; `name` is below the dataset's folder."""

    name: str
    text: str


@dataclass
class CaptionExports:
    """What can be taken out of a captioned folder.

    Attributes:
        files: to be written.
        edited_beside_a_file: pictures whose captions were edited in the output and have a caption of their own in the
            dataset, with its file's name: that one wins, and is not written over.
        unmade: pictures whose edited captions no file can say, for the trigger words, prefix or suffix are put to all.
        by_hand: how many pictures have captions of their own, which need no file.
    """

    files: list[CaptionExport] = field(default_factory=list)
    edited_beside_a_file: dict[str, str] = field(default_factory=dict)
    unmade: list[str] = field(default_factory=list)
    by_hand: int = 0


@dataclass(frozen=True)
class CaptionChange:
    """What the next run makes of a picture's caption.

    Attributes:
        picture: below the dataset's folder.
        before, after: the captions, whole; before is empty for a new picture, after where a captioner will write one.
        why: where `after` comes from, or why there is none, in words.
    """

    picture: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    why: str


class CaptionedDataset:
    """A captioned folder and the dataset that it was made of.

    Args:
        raw: the dataset's folder.
        captioned: what `caption` wrote of it.

    Raises:
        UserError: one is not there, or the other is of another dataset.
    """

    def __init__(self, raw: Path, captioned: Path) -> None:
        check_pulled(raw)
        if not raw.is_dir():
            raise UserError("no such folder", where=raw, fix="name the dataset's folder: data/raw/NAME")
        if not (captioned / "metadata.jsonl").is_file() or not (captioned / "dataset.json").is_file():
            raise UserError("no captioned pictures here", where=captioned, fix="run `dvc repro caption` first")
        self.raw, self.rows = raw, read_captioned(captioned)
        facts = Dataset.read(captioned / "dataset.json")
        if PurePosixPath(facts.name).name != raw.resolve().name and facts.name != raw.name:
            fix = f"name that one's folder, or run `dvc repro caption` on {raw.name}"
            raise UserError(f"holds the captions of the dataset {facts.name}", where=captioned, fix=fix)
        prepare = facts.made_with("prepare", PrepareSettings)
        chosen = cast(Validator[CaptionSettings], CAPTIONERS.chosen())
        self.settings = check(chosen, facts.settings["caption"], "caption")
        self.source: PictureSource = open_source(raw, prepare.follow_symlinks, prepare.source)
        self.files: Captions = self.source.captions(self.settings.extensions, self.settings.precedence)

    def list_exports(self) -> CaptionExports:
        """The captions that a captioner wrote, and those that were edited in the output, as files beside the pictures.

        The next run makes the same texts of them.

        Raises:
            UserError: files beside the pictures are not read with the settings that the folder was made with.
        """
        if "sidecar" not in self.settings.precedence or not self.settings.extensions:
            fix = "put sidecar into caption.precedence, an ending into caption.extensions, and run again"
            raise UserError("its settings do not read files beside the pictures", where="caption", fix=fix)
        found = CaptionExports()
        # Of a file that is several pictures the captions are one file's; what was edited goes before the rest.
        edited_first = sorted(self.rows, key=lambda row: not row.is_edited)
        for row in sorted(select_files(edited_first), key=lambda row: row.file_name):
            file = self.files.find(row.source)
            if file:
                found.by_hand += 1
                if row.is_edited and list(self._read(row, file)[0]) != row.texts:
                    found.edited_beside_a_file[row.source] = file
            elif row.is_edited or row.written:
                name = PurePosixPath(row.source).with_suffix(self.settings.extensions[0]).as_posix()
                text = self._bare(row)
                if text is None:
                    found.unmade.append(row.source)
                else:
                    found.files.append(CaptionExport(name, text))
        return found

    def list_changes(self) -> list[CaptionChange]:
        """What the next run changes with the settings that the folder was made with, sorted by the pictures' names."""
        known = {row.source: row for row in self.rows}
        there = set(self.source.scan().files)
        changes = [change for row in self.rows if row.source in there for change in self._change_of(row)]
        changes += [CaptionChange(name, (), (), NEW) for name in there - known.keys()]
        changes += [CaptionChange(name, tuple(known[name].texts), (), GONE) for name in known.keys() - there]
        return sorted(dict.fromkeys(changes), key=lambda change: change.picture)

    def _change_of(self, row: CaptionedRow) -> Iterator[CaptionChange]:
        before, file = tuple(row.texts), self.files.find(row.source)
        if file:
            after, why = self._read(row, file)
        elif row.written is not None:
            settings = adapt_settings(self.settings, row.rules)
            after, why = (complete_text(settings, row.written, row.is_reg, by_hand=False),), "the captioner's"
        elif row.caption_source == "file":
            after, why = (), f"{row.caption_file} is gone: the captioner writes, or the trigger words stand alone"
        else:
            after, why = before, ""
        if row.is_edited:
            yield CaptionChange(row.source, before, after, "edited in the output, which the next run refuses to undo")
        elif before != after:
            yield CaptionChange(row.source, before, after, why)

    def _read(self, row: CaptionedRow, file: str) -> tuple[tuple[str, ...], str]:
        """The captions that a picture's file makes, and the file; none, and why it cannot be used."""
        settings = adapt_settings(self.settings, row.rules)
        texts = read_texts(self.files, settings, file, row.source)
        if isinstance(texts, CaptionProblem):
            return (), f"{texts.file} cannot be used: {texts.describe()}"
        return tuple(complete_text(settings, text, row.is_reg, by_hand=True) for text in texts), file

    def _bare(self, row: CaptionedRow) -> str | None:
        """What to write into a file, so that the next run makes the row's text of it."""
        settings = adapt_settings(self.settings, row.rules)
        whole = complete_text(settings, row.written or "", row.is_reg, by_hand=False)
        if row.written and not row.is_edited and complete_text(settings, row.written, row.is_reg, True) == whole:
            return row.written
        return strip_text(settings, row.text, row.is_reg)


def write_exports(raw: Path, exports: CaptionExports) -> None:
    """Write the files; what has come there meanwhile stays.

    Raises:
        UserError: the disk is full or not writable.
    """
    for one in exports.files:
        if not (raw / one.name).exists():
            write_text(raw / one.name, one.text + "\n")
