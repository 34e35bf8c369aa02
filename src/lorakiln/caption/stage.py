"""The stage: from a prepared folder to the same pictures with a text each."""

import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.caption.hand_edits import check_hand_edits
from lorakiln.caption.missing_captions import LISTED, make_refusal
from lorakiln.caption.text_cache import compute_content_keys, read_earlier_texts, read_partial_texts, write_texts
from lorakiln.caption.text_forms import TextForms
from lorakiln.caption.trigger import adapt_settings, complete_text, holds_trigger
from lorakiln.captioners import Chain, open_captioner
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line
from lorakiln.facts.dataset import Dataset
from lorakiln.rows import CaptionedRow, PreparedRow, compute_text_key, read_prepared, write_rows
from lorakiln.schema.captioners import CaptionSettings
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
        links: of several captioners what each has written, by its key, which then stands for the one key.
    """

    text: str
    source: str
    file: str | None = None
    key: str | None = None
    written: str | None = None
    alternatives: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    def row_of(self, picture: PreparedRow) -> CaptionedRow:
        more: dict[str, Any] = {"alternatives": list(self.alternatives)} if self.alternatives else {}
        more |= {"links": dict(self.links)} if self.links else {}
        return CaptionedRow(
            **picture.to_dict(),
            text=self.text,
            **more,
            caption_source=self.source,
            caption_file=self.file,
            caption_key=self.key,
            written=self.written,
            text_key=compute_text_key([self.text, *self.alternatives]),
        )


def caption(prepared: Path, raw: Path, out: Path, settings: CaptionSettings, captioner: Source) -> None:
    """Write `out`: the pictures of `prepared`, metadata.jsonl with texts, dataset.json.

    A caption that came with the raw picture wins; else the captioner writes, unless `out` holds what it wrote about the
    same picture; without a captioner the text is the source's class tokens and the trigger words. What the captioner
    has written is kept beside `out` until that is whole: whatever ends the stage, it is not asked again.

    Raises:
        UserError: a folder is missing; caption files cannot be read or are empty, or pictures end without a text
            (all are listed); somebody has edited the captions in `out`, which would be undone; the captioner cannot be
            loaded; the disk is full.
    """
    rows, facts = _read(prepared, raw)
    prepare = facts.made_with("prepare", PrepareSettings)
    kept = PartialResults(out, ".json")
    asked = open_captioner(settings, captioner)
    source = open_source(raw, prepare.follow_symlinks, prepare.source)
    files = source.captions(settings.extensions, settings.precedence)
    check_hand_edits(out, raw, rows, files, settings)
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
            captioner=(settings.source or captioner).model_dump(mode="json"),
            settings={**facts.settings, "caption": settings.model_dump(mode="json")},
        )
        facts.write(fresh / "dataset.json")
    kept.clear()
    _warn_lonely(stage.files, prepared, rows)
    about = {row.file_name: captioned[row.file_name] for row in rows if not row.is_reg}
    _warn_without_trigger(facts.trigger, about)
    for line in stage.forms.describe():
        print(f"caption: {line}", flush=True)
    if settings.rules:
        print(f"caption: rules have changed {format_count(stage.changed, 'text')}", flush=True)
    if facts.trigger:
        what = (
            f"caption: the trigger words {facts.trigger!r} are put in front of {format_count(stage.triggered, 'text')}"
        )
        print(f"{what}; caption.trigger sets others", flush=True)
    counts = Counter(entry.source for entry in captioned.values())
    written = counts[settings.captioner]
    print(
        f"caption: {format_count(len(rows), 'picture')}: {format_count(counts['file'], 'text')} from files"
        f"{_describe_files(captioned)}, {written} by the captioner ({stage.new} new), "
        f"{counts['trigger']} of the trigger words alone"
        + (f", {counts['edit']} of hand edits" if counts["edit"] else "")
        + (f", {counts['class_tokens']} of class tokens" if counts["class_tokens"] else ""),
        flush=True,
    )


class _Stage:
    """One run; `written` is what the captioner wrote before, by key, `new` how many it wrote now, `kept` takes them.
    Of the texts `changed` are others by the rules, and `triggered` have got the trigger words; `forms` are what the
    captions have.

    Without a captioner the pictures that have no caption get their source's class tokens and the trigger words.
    """

    def __init__(
        self,
        prepared: Path,
        files: Captions,
        settings: CaptionSettings,
        captioner: Chain | None,
        kept: PartialResults,
    ) -> None:
        self.prepared, self.files, self.settings, self.captioner, self.kept = prepared, files, settings, captioner, kept
        self.written: dict[str, str] = {}
        self.new = self.changed = self.triggered = 0
        self.forms = TextForms()

    def run(self, rows: Sequence[PreparedRow], raw: Path, full_list: Path) -> dict[str, Captioned]:
        """Texts by the pictures' file_name.

        Args:
            raw: the dataset's folder, for messages.
            full_list: where a list of problems goes that is too long for a message.
        """
        captioned, problems, bare = {}, [], []
        for row in rows:
            file = self.files.find(row.source)
            own = adapt_settings(self.settings, row.rules)
            found = self.files.read_lines(file, row.source) if file else None
            if isinstance(found, CaptionProblem):
                problems.append(found)
            elif file and found is not None:
                texts = self.forms.take(row.source, found, own.lines)
                text, *more = (self._complete(row, one, by_hand=True) for one in texts)
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
        problems += [
            self._textless(row, entry) for row in rows if (entry := captioned.get(row.file_name)) and not entry.text
        ]
        if problems:
            # What is wrong with a file of many captions is told once.
            raise make_refusal(raw, list(dict.fromkeys(problems)), full_list)
        full_list.unlink(missing_ok=True)
        return captioned

    def _complete(self, row: PreparedRow, text: str, by_hand: bool = False) -> str:
        settings = adapt_settings(self.settings, row.rules)
        whole = complete_text(settings, text, row.is_reg, by_hand)
        if settings.rules and text:
            plain = complete_text(settings.model_copy(update={"rules": []}), text, row.is_reg, by_hand)
            self.changed += plain != whole
        bare = complete_text(settings.model_copy(update={"trigger": ""}), text, row.is_reg, by_hand)
        self.triggered += bare != whole
        return whole

    def _ask(self, captioner: Chain, rows: Sequence[PreparedRow]) -> dict[str, Captioned]:
        # Those of one size together, for captioners that take no others at once.
        by_size = sorted(rows, key=lambda row: (row.width, row.height))
        pictures = {row.file_name: self.prepared / row.file_name for row in by_size}
        # First all keys: a captioner that cannot write at all is told of before another has written for hours.
        keys = [compute_content_keys(link.captioner, link.settings, pictures) for link in captioner.links]
        asked: set[Path] = set()
        for link, by_name in zip(captioner.links, keys, strict=True):
            new = {key: pictures[name] for name, key in by_name.items() if key not in self.written}
            self.written |= write_texts(link.captioner, new, self.kept)
            asked.update(new.values())
        self.new = len(asked)
        return {row.file_name: self._gather(row, captioner, [one[row.file_name] for one in keys]) for row in rows}

    def _gather(self, row: PreparedRow, captioner: Chain, keys: Sequence[str]) -> Captioned:
        """What was written of a picture, by the captioners' keys."""
        told = {key: self.written[key] for key in keys}
        text = captioner.join(self.written[key] for key in keys)
        found = Captioned(self._complete(row, text), self.settings.captioner, None, keys[0], text)
        return found if len(keys) == 1 else replace(found, key=None, links=told)

    def _textless(self, row: PreparedRow, captioned: Captioned) -> CaptionProblem:
        if self.settings.rules and (captioned.file or captioned.written):
            what, fix = "caption.rules leave nothing of its caption", "leave less out"
        elif self.captioner is None:
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


def _read(prepared: Path, raw: Path) -> tuple[list[PreparedRow], Dataset]:
    if not (prepared / "metadata.jsonl").is_file() or not (prepared / "dataset.json").is_file():
        raise UserError("no prepared pictures here", where=prepared, fix="run `dvc repro prepare` first")
    check_pulled(raw)
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
