"""The stage: from a prepared folder to the same pictures with a text each."""

import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.caption.missing_captions import LISTED, make_refusal
from lorakiln.caption.text_cache import compute_content_keys, read_earlier_texts, read_partial_texts, write_texts
from lorakiln.caption.trigger import holds_trigger, prepend_trigger, put_around
from lorakiln.captioners import Captioner
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line
from lorakiln.facts import Dataset
from lorakiln.rows import CaptionedRow, PreparedRow, read_prepared, write_rows
from lorakiln.schema.captioners import CAPTIONERS, CaptionSettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.sources import CaptionProblem, Captions, open_source
from lorakiln.sources.folder.edits import ENDING as EDIT


@dataclass(frozen=True)
class Captioned:
    """Where a picture's text comes from.

    Attributes:
        text: trigger words included.
        source: "edit", "file", the captioner's kind, "class_tokens", or "trigger".
        file: the caption file, below the dataset's folder.
        key, written: the captioner's, to be found again by a later run; written is without trigger words.
        alternatives: further texts, trigger words included.
    """

    text: str
    source: str
    file: str | None = None
    key: str | None = None
    written: str | None = None
    alternatives: tuple[str, ...] = ()

    def row_of(self, picture: PreparedRow) -> CaptionedRow:
        more = {"alternatives": list(self.alternatives)} if self.alternatives else {}
        return CaptionedRow(
            **picture.to_dict(),
            text=self.text,
            **more,
            caption_source=self.source,
            caption_file=self.file,
            caption_key=self.key,
            written=self.written,
        )


def caption(prepared: Path, raw: Path, out: Path, settings: CaptionSettings, captioner: Source) -> None:
    """Write `out`: the pictures of `prepared`, metadata.jsonl with texts, dataset.json.

    A caption that came with the raw picture wins; else the captioner writes, unless `out` holds what it wrote about the
    same picture; without a captioner the text is the source's class tokens and the trigger words. What the captioner
    has written is kept beside `out` until that is whole: whatever ends the stage, it is not asked again.

    Raises:
        UserError: a folder is missing; caption files cannot be read or are empty, or pictures end without a text
            (all are listed); the captioner cannot be loaded; the disk is full.
    """
    rows, facts = _read(prepared, raw)
    prepare = facts.made_with("prepare", PrepareSettings)
    kept = PartialResults(out, ".json")
    asked = CAPTIONERS.find(settings.captioner).make_captioner(captioner, settings)
    source = open_source(raw, prepare.follow_symlinks, prepare.source)
    files = source.captions(settings.extensions, settings.precedence)
    stage = _Stage(prepared, files, settings, asked, kept)
    check_space(out, _total_size(prepared, rows), "the captioned pictures")
    # It goes beside `out`: nothing is left inside after an error.
    full_list = out.with_name(f"{out.name}.problems.jsonl")
    with replacing(out) as fresh:
        stage.written = read_earlier_texts(out) | read_partial_texts(kept)
        captioned = stage.run(rows, raw, full_list)
        _copy(prepared, fresh, rows)
        write_rows(fresh, (captioned[row.file_name].row_of(row) for row in rows))
        facts = facts.changed(
            trigger=" ".join(settings.trigger.split()),
            captioner=captioner.model_dump(mode="json"),
            settings={**facts.settings, "caption": settings.model_dump(mode="json")},
        )
        facts.write(fresh / "dataset.json")
    kept.clear()
    _warn_lonely(stage.files, prepared, rows)
    about = {row.file_name: captioned[row.file_name] for row in rows if not row.is_reg}
    _warn_without_trigger(facts.trigger, about)
    counts = Counter(entry.source for entry in captioned.values())
    written = counts[settings.captioner]
    print(
        f"caption: {len(rows)} pictures: {counts['file']} texts from files{_describe_files(captioned)}, {written} by "
        "the captioner "
        f"({stage.new} new), {counts['trigger']} of the trigger words alone"
        + (f", {counts['edit']} of hand edits" if counts["edit"] else "")
        + (f", {counts['class_tokens']} of class tokens" if counts["class_tokens"] else ""),
        flush=True,
    )


class _Stage:
    """One run; `written` is what the captioner wrote before, by key, `new` how many it wrote now, `kept` takes them.

    Without a captioner the pictures that have no caption get their source's class tokens and the trigger words.
    """

    def __init__(
        self,
        prepared: Path,
        files: Captions,
        settings: CaptionSettings,
        captioner: Captioner | None,
        kept: PartialResults,
    ) -> None:
        self.prepared, self.files, self.settings, self.captioner, self.kept = prepared, files, settings, captioner, kept
        self.written: dict[str, str] = {}
        self.new = 0

    def run(self, rows: Sequence[PreparedRow], raw: Path, full_list: Path) -> dict[str, Captioned]:
        """Texts by the pictures' file_name.

        Args:
            raw: the dataset's folder, for messages.
            full_list: where a list of problems goes that is too long for a message.
        """
        captioned, problems, bare = {}, [], []
        for row in rows:
            file = self.files.find(row.source)
            found = self._read(file, row.source) if file else None
            if isinstance(found, CaptionProblem):
                problems.append(found)
            elif found is not None:
                text, *more = (self._complete(row, one, self.settings.trigger_in_files) for one in found)
                kind = "edit" if file == row.source + EDIT else "file"
                captioned[row.file_name] = Captioned(text, kind, file, alternatives=tuple(more))
            else:
                bare.append(row)
        if self.captioner is None:
            for row in bare:
                words = row.class_tokens or self.settings.class_tokens
                whole = self._complete(row, words)
                captioned[row.file_name] = Captioned(whole, "class_tokens" if words else "trigger")
        elif bare and not problems:  # what the captioner writes would be lost
            captioned |= self._ask(self.captioner, bare)
        problems += [self._textless(row) for row in rows if _is_textless(captioned.get(row.file_name))]
        if problems:
            # What is wrong with a file of many captions is told once.
            raise make_refusal(raw, list(dict.fromkeys(problems)), full_list)
        full_list.unlink(missing_ok=True)
        return captioned

    def _read(self, file: str, picture: str) -> list[str] | CaptionProblem:
        """A picture's captions in a file."""
        if self.settings.lines:
            return self.files.read_lines(file, picture)
        text = self.files.read(file, picture)
        return text if isinstance(text, CaptionProblem) else [text]

    def _complete(self, row: PreparedRow, text: str, trigger: bool = True) -> str:
        """With the trigger words first, then prefix, caption and suffix. A regularisation picture is not about the
        subject, and has no trigger words.
        """
        whole = put_around(text, self.settings.prefix, self.settings.suffix)
        return prepend_trigger(self.settings.trigger, whole) if trigger and not row.is_reg else whole

    def _ask(self, captioner: Captioner, rows: Sequence[PreparedRow]) -> dict[str, Captioned]:
        pictures = {row.file_name: self.prepared / row.file_name for row in rows}
        keys = compute_content_keys(captioner, self.settings, pictures)
        new = {key: pictures[name] for name, key in keys.items() if key not in self.written}
        self.new = len(new)
        self.written |= write_texts(captioner, new, self.kept)
        return {
            row.file_name: Captioned(
                self._complete(row, self.written[key]), self.settings.captioner, None, key, self.written[key]
            )
            for row in rows
            for key in (keys[row.file_name],)
        }

    def _textless(self, row: PreparedRow) -> CaptionProblem:
        if self.captioner is None:
            what, fix = "has no caption file", "write one beside it"
        else:
            what, fix = "the captioner wrote nothing about it", "write a caption file beside it"
        return CaptionProblem(row.source, what, f"{fix}, or set caption.trigger")


def _describe_files(captioned: Mapping[str, Captioned]) -> str:
    """Which files, if others than one a picture are among them: " (3 .txt, 2 metadata.jsonl)"."""
    names = Counter(entry.file for entry in captioned.values() if entry.file and entry.source == "file")
    kinds: Counter[str] = Counter()
    for name, count in names.items():
        path = PurePosixPath(name)
        kinds[path.name if count > 1 else path.suffix] += count
    return f" ({', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))})" if len(kinds) > 1 else ""


def _is_textless(captioned: Captioned | None) -> bool:
    return captioned is not None and not captioned.text


def _read(prepared: Path, raw: Path) -> tuple[list[PreparedRow], Dataset]:
    if not (prepared / "metadata.jsonl").is_file() or not (prepared / "dataset.json").is_file():
        raise UserError("no prepared pictures here", where=prepared, fix="run `dvc repro prepare` first")
    if not raw.is_dir():
        raise UserError("no such folder", where=raw, fix="restore it, or name another dataset")
    return read_prepared(prepared), Dataset.read(prepared / "dataset.json")


def _total_size(prepared: Path, rows: Sequence[PreparedRow]) -> int:
    """Bytes of all pictures."""
    files = [prepared / name for row in rows for name in row.files]
    if missing := [file for file in files if not file.is_file()]:
        raise UserError(
            "this picture of metadata.jsonl is missing" + (f" ({len(missing)} are)" if len(missing) > 1 else ""),
            where=missing[0],
            fix="run `dvc repro -f prepare`",
        )
    return sum(file.stat().st_size for file in files)


def _copy(prepared: Path, fresh: Path, rows: Sequence[PreparedRow]) -> None:
    for name in (name for row in rows for name in row.files):
        target = fresh / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(prepared / name, target)


def _warn_lonely(files: Captions, prepared: Path, rows: Sequence[PreparedRow]) -> None:
    """Name the caption files that belong to no picture; a picture that was refused counts as one."""
    quarantine = prepared / "quarantine.jsonl"
    refused = read_jsonl(quarantine) if quarantine.is_file() else []
    lonely = list(files.without_picture([*(row.source for row in rows), *(one["source"] for one in refused)]))
    if lonely:
        more = [f"  and {len(lonely) - LISTED} more"] if len(lonely) > LISTED else []
        lines = [
            f"warning: caption files without a picture ({len(lonely)}):",
            *(f"  {escape_line(name)}" for name in lonely[:LISTED]),
        ]
        print("\n".join(lines + more), file=sys.stderr, flush=True)


def _warn_without_trigger(trigger: str, captioned: Mapping[str, Captioned]) -> None:
    """Say which texts lack the trigger words, as hand-written ones may with `trigger_in_files: false`."""
    names = [
        name
        for name, entry in captioned.items()
        if trigger and not all(holds_trigger(text, trigger) for text in (entry.text, *entry.alternatives))
    ]
    if names:
        shown = ", ".join(escape_line(name) for name in names[:LISTED]) + (", ..." if len(names) > LISTED else "")
        print(
            f"warning: {len(names)} of {len(captioned)} texts are without the trigger words {trigger!r}: {shown}",
            file=sys.stderr,
            flush=True,
        )
