"""The check before training: one page, and three lines, of what will be trained on and for how long."""

import base64
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl, write_text
from lorakiln.artefacts.pictures import read_picture
from lorakiln.caption.trigger import holds_trigger
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line
from lorakiln.facts.dataset import Dataset
from lorakiln.prepare.findings import list_findings as find_in_pictures
from lorakiln.rows import CaptionedRow, read_captioned, select_files
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tools.caption_lint import count_trigger, find_common_tags
from lorakiln.tracking.contact_sheet import MOST, choose_evenly, paste_cells
from lorakiln.train.length import count_steps
from lorakiln.train.plan import describe_length
from lorakiln.train.small_buckets import check_small_buckets, list_small_buckets
from lorakiln.train.validation_split import hold_out

MOST_TAGS = 60
NAMED = 5  # pictures of a finding
OUTSIDE = 0.25  # of its brightness is left to what a mask keeps from being learned
LIST = 3  # tags of a caption, from which on half of the captions are lists of tags, and no sentences


@dataclass
class _Group:
    """Pictures of one bucket, as the training has them."""

    name: str
    rows: list[CaptionedRow] = field(default_factory=list)


@dataclass(frozen=True)
class _Finding:
    what: str
    names: Sequence[str]

    def describe(self) -> str:
        more = f" and {len(self.names) - NAMED} more" if len(self.names) > NAMED else ""
        return f"{self.what} ({len(self.names)}): {', '.join(self.names[:NAMED])}{more}"


def write_dataset_page(captioned: Path, prepared: Path, train: TrainSettings, page: Path) -> None:
    """Write the page, and print three lines: pictures, findings, and what the training will be. Equal inputs give equal
    bytes; pictures are inside.

    Args:
        captioned: what `caption` wrote of `prepared`.
        train: the training that follows.

    Raises:
        UserError: a folder is damaged, the disk is full.
    """
    rows, facts = read_captioned(captioned), Dataset.read(captioned / "dataset.json")
    groups = _group(rows)
    findings = list_findings(rows, facts, prepared, train)
    plan, trouble = _plan(groups, train, facts.made_with("prepare", PrepareSettings))
    if trouble:
        findings.insert(0, _Finding("the training will refuse this", [trouble]))
    title, tags = count_tags_or_words([row.text for row in rows if not row.is_reg])
    environment = Environment(
        loader=PackageLoader("lorakiln.tools"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["counted"] = format_count
    text = environment.get_template("dataset.html").render(
        facts=facts,
        rows=rows,
        sources=Counter(row.caption_source for row in rows),
        repeats=sorted(Counter((row.repeats, row.is_reg) for row in rows).items()),
        findings=[one.describe() for one in findings],
        plan=plan,
        tags=tags.most_common(MOST_TAGS),
        title=title,
        captions=len(rows) - sum(row.is_reg for row in rows),
        sheets=[(group.name, len(group.rows), _draw_sheet(captioned, group.rows, len(groups))) for group in groups],
        masks=sum(row.mask is not None for row in rows),
        edited=_describe_edits(rows, facts),
    )
    write_text(page, text)
    buckets = ", ".join(f"{group.name}: {len(group.rows)}" for group in groups)
    told = "; ".join(f"{one.what} ({len(one.names)})" for one in findings) or "none"
    lines = [
        f"dataset: {format_count(len(rows), 'picture')} in {format_count(len(groups), 'bucket')} ({buckets})",
        f"findings: {told}",
        f"training: {plan['pictures']}; {plan['steps']}; all on {page}" if plan else f"training: see {page}",
    ]
    print("\n".join(map(escape_line, lines)), flush=True)


def list_findings(rows: Sequence[CaptionedRow], facts: Dataset, prepared: Path, train: TrainSettings) -> list[_Finding]:
    """What may be wrong with the pictures and their captions, those with no names left out."""
    subject = [row for row in rows if not row.is_reg]
    texts = {row.file_name: row.text for row in subject}
    settings = facts.made_with("prepare", PrepareSettings)
    quarantine = prepared / "quarantine.jsonl"
    left_out = [str(one["source"]) for one in read_jsonl(quarantine)] if quarantine.is_file() else []
    trigger = facts.trigger
    found = [
        _Finding("not what the base knows", [facts.out_of_domain] if facts.out_of_domain else []),
        _Finding("files that were left out", left_out),
        *(_Finding(one.what, one.pictures) for one in find_in_pictures(rows, settings)),
        _Finding("odd files", [f"{row.file_name} ({'; '.join(row.notes)})" for row in rows if row.notes]),
        _Finding(
            f"buckets of fewer pictures than a batch of {train.batch_size}",
            [] if settings.findings.small_bucket == "off" else _list_small(rows, train),
        ),
        _Finding("captions without the trigger words", [n for n, t in texts.items() if not holds_trigger(t, trigger)])
        if trigger
        else _Finding("no trigger words", ["set caption.trigger, or all captions are learned alike"]),
        _Finding(
            "captions with the trigger words more than once",
            [name for name, text in texts.items() if trigger and count_trigger(text, trigger) > 1],
        ),
        _Finding("tags in every caption", find_common_tags(list(texts.values()), trigger)),
        _Finding("all captions are the same", _find_only_caption(list(texts.values()))),
    ]
    return [one for one in found if one.names]


def count_tags_or_words(texts: Sequence[str]) -> tuple[str, Counter[str]]:
    """In how many captions each tag stands, or each word where they are sentences; which of both, and the counts, the
    most frequent first, equal ones by name.
    """
    tags = [{" ".join(tag.split()) for tag in text.split(",")} - {""} for text in texts]
    words = [set(re.findall(r"\w[\w'-]*", text.lower())) for text in texts]
    lists = 2 * sum(len(one) >= LIST for one in tags) >= len(texts)
    counts = Counter(one for of_one in (tags if lists else words) for one in sorted(of_one))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ("tags" if lists else "words"), Counter(dict(ordered))


def _describe_edits(rows: Sequence[CaptionedRow], facts: Dataset) -> str:
    """What was said by hand of single pictures; "" where nothing was."""
    files = select_files(rows)
    counts = {
        "caption": sum(row.caption_source == "edit" for row in files),
        "crop": sum(row.hand_crop is not None for row in files),
    }
    told = [format_count(count, kind) for kind, count in counts.items() if count]
    if facts.excluded:
        more = f" and {len(facts.excluded) - NAMED} more" if len(facts.excluded) > NAMED else ""
        told.append(f"left out {', '.join(facts.excluded[:NAMED])}{more}")
    return ", ".join(told)


def _group(rows: Sequence[CaptionedRow]) -> list[_Group]:
    groups: dict[tuple[int, int], _Group] = {}
    for row in rows:
        groups.setdefault((row.width, row.height), _Group(f"{row.width}x{row.height}")).rows.append(row)
    return [group for _, group in sorted(groups.items())]


def _plan(groups: Sequence[_Group], train: TrainSettings, prepared: PrepareSettings) -> tuple[dict[str, str], str]:
    """The training's plan as far as it follows from pictures and settings; or why there is none."""
    try:
        split = hold_out(groups, train.validation)
        settings = count_steps(train, split)
        check_small_buckets([group.name for group in groups], split, train.batch_size, prepared.findings)
    except UserError as error:
        return {}, error.what
    adapter = f"{train.adapter.kind}, rank {train.adapter.rank}"
    return {**describe_length([group.name for group in groups], split, settings), "adapter": adapter}, ""


def _list_small(rows: Sequence[CaptionedRow], train: TrainSettings) -> list[str]:
    groups = _group(rows)
    try:
        split = hold_out(groups, train.validation)
    except UserError:
        return []  # there is nothing to train on, which the plan tells
    return list_small_buckets([group.name for group in groups], split, train.batch_size)


def _find_only_caption(texts: Sequence[str]) -> list[str]:
    return [texts[0]] if len(texts) > 1 and len(set(texts)) == 1 else []


def _draw_sheet(folder: Path, rows: Sequence[CaptionedRow], buckets: int) -> str:
    """A data URI of pictures of one bucket, darkened where their masks keep them from being learned."""
    shown = choose_evenly(rows, max(8, MOST // buckets))
    columns = min(len(shown), max(4, round((len(shown) * 2) ** 0.5)))
    buffer = io.BytesIO()
    paste_cells([_show_mask(folder, row) for row in shown], columns).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _show_mask(folder: Path, row: CaptionedRow) -> Image.Image:
    picture = read_picture(folder / row.file_name)
    if row.mask is None:
        return picture
    mask = read_picture(folder / row.mask.file_name).convert("L")
    return Image.composite(picture, picture.point(lambda value: round(value * OUTSIDE)), mask)
