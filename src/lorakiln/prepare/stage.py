"""The stage: from a folder of raw pictures to a folder of training pictures."""

import math
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from statistics import fmean

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.process_pool import count_workers, map_in_order
from lorakiln.console.progress import show_progress
from lorakiln.console.terminal_text import escape_line
from lorakiln.facts.dataset import Dataset
from lorakiln.prepare.buckets import Geometry
from lorakiln.prepare.damage import simplejpeg
from lorakiln.prepare.findings import list_findings
from lorakiln.prepare.masks import ALPHA, FROM_FILES, NETWORK
from lorakiln.prepare.missing_pictures import check_folder, make_no_pictures_error
from lorakiln.prepare.near_duplicates import find_near_duplicates
from lorakiln.prepare.networks import Networks
from lorakiln.prepare.own_settings import adapt_settings
from lorakiln.prepare.picture import (
    UPSCALED,
    Preparer,
    name_picture,
    read_earlier_pictures,
    read_partial_pictures,
)
from lorakiln.prepare.shading import describe_unsuited_pictures
from lorakiln.prepare.unusable_files import LISTED, explain_unusable, make_refusal, write_quarantine
from lorakiln.rows import PreparedRow, write_rows
from lorakiln.schema.marks import Decides, select_decided
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.sources import SourceContents, Subset, UnusableFile, open_source

# Bytes that a pixel of a drawing or a photograph takes at least in a PNG, about: a disk with less cannot do.
PNG_BYTES = 0.5
WORTH = 32  # small pictures: starting a process costs about as much


def prepare(raw: Path, out: Path, settings: PrepareSettings) -> None:
    """Decode, orient, convert to sRGB, resize and crop all pictures below `raw`; the originals are only read.

    Writes PNGs under the sources' relative names, those before the crop in .uncropped where settings.margin wants them,
    masks in .masks, metadata.jsonl, dataset.json and quarantine.jsonl. What `out` holds under the same content key is
    copied, not made again, and so is what a run had made that was stopped.

    Raises:
        UserError: there are no pictures; some cannot be used and settings.on_bad is "error", or none can; a process was
            killed; the disk is full.
    """
    check_folder(raw, out)
    if simplejpeg is None:
        missed = "changed bytes in a JPEG are noticed only where they cut it off"
        print(f"warning: simplejpeg is not installed: {missed}\n  fix: pip install simplejpeg", file=sys.stderr)
    source = open_source(raw, settings.follow_symlinks, settings.source)
    contents = source.scan()
    if not contents.pictures and not contents.bad:
        if contents.excluded:
            what = f"all pictures here are left out by hand ({len(contents.excluded)})"
            raise UserError(what, where=raw, fix="remove `excluded` from the .edit.yaml of those that shall be used")
        raise make_no_pictures_error(raw, contents.others, contents.misnamed)
    geometries, own = _find_geometries(contents, settings), _find_own(contents, settings)
    pixels = sum(_count_pixels(name, geometries, own, settings) for name in contents.pictures)
    check_space(out, int(pixels * PNG_BYTES), "the prepared pictures")
    networks = Networks.of(settings)
    kept = PartialResults(out, ".json")
    with _leaving_nothing_but_when_stopped(kept), replacing(out) as fresh:
        known = read_earlier_pictures(out) | read_partial_pictures(kept)
        boxes = {name: edit.box for name, edit in contents.edits.items() if edit.box}
        preparer = Preparer(
            source, fresh, settings, known, kept, networks, contents.masks, boxes, geometries, contents.once_more, own
        )
        results = _run(preparer, contents.pictures, count_workers(settings.workers, len(contents.pictures), WORTH))
        rows = sorted((row for row in results if not isinstance(row, UnusableFile)), key=lambda row: row.file_name)
        bad = sorted(
            dict.fromkeys([*contents.bad, *(entry for entry in results if isinstance(entry, UnusableFile))]),
            key=lambda entry: entry.source,
        )
        del results  # which would keep every row as it was before it is told of twins and subsets
        # The full list goes beside `out`: nothing is left inside after an error.
        full_list = out.with_name(f"{out.name}.quarantine.jsonl")
        subsets = {name_picture(name): subset for name, subset in contents.subsets.items()}
        twins = _find_twins(rows)
        for number, twin in enumerate(twins):  # in place: all rows twice would be what takes most memory here
            rows[number] = _with_subset(rows[number].changed(twin=twin), subsets.get(rows[number].file_name))
        findings = list_findings(rows, settings, contents.misnamed)
        errors = [one for one in findings if one.is_error(settings.findings)]
        refused = bad if settings.on_bad == "error" or not rows else []
        if refused or errors:
            raise make_refusal(raw, refused, len(rows), full_list, errors)
        full_list.unlink(missing_ok=True)
        write_rows(fresh, rows)
        write_quarantine(fresh / "quarantine.jsonl", bad)
        facts = _facts(rows, bad, settings, {name_picture(name) for name in geometries}, networks)
        facts.changed(excluded=contents.excluded).write(fresh / "dataset.json")
    kept.clear()
    if facts.out_of_domain:
        print(f"warning: {facts.out_of_domain}", file=sys.stderr, flush=True)
    for one in findings:
        _warn(one.sentence, list(map(escape_line, one.pictures)))
    _report(rows, bad, contents.others, settings, sum(row.key in known for row in rows))
    _report_subsets(rows, contents, subsets)
    _report_masks(rows, contents, settings)
    _report_edits(contents)
    if any(row.uncropped for row in rows):
        _report_uncropped(out, rows, settings)


@contextmanager
def _leaving_nothing_but_when_stopped(kept: PartialResults) -> Iterator[None]:
    """What is refused was looked at to its end; and a disk that is full wants its room back."""
    try:
        yield
    except UserError:
        kept.clear()
        raise


def _run(preparer: Preparer, pictures: Sequence[str], workers: int) -> list[PreparedRow | UnusableFile]:
    results = []
    with show_progress("prepare", len(pictures)) as bar:
        for result in map_in_order(preparer, pictures, workers, _explain_killed):
            results.append(result)
            bar.advance()
    return results


def _explain_killed(files: Sequence[str]) -> UserError:
    return UserError(
        f"a process that read pictures was killed; it was at one of: {', '.join(files) or 'the last ones'}",
        fix="out of memory, most likely: lower prepare.workers, or take out or shrink the largest of these files",
    )


def _find_geometries(contents: SourceContents, settings: PrepareSettings) -> dict[str, Geometry]:
    """Of the pictures whose bucket is chosen by another rule than the settings'.

    Raises:
        UserError: what the source says of some cannot be.
    """
    usual, known = Geometry.of(settings), dict[int, Geometry]()
    of = {}
    for name, subset in contents.subsets.items():
        if id(subset) not in known:
            known[id(subset)] = Geometry.of(settings, subset.pictures, subset.where)
        if known[id(subset)] != usual:
            of[name] = known[id(subset)]
    return of


def _find_own(contents: SourceContents, settings: PrepareSettings) -> dict[str, PrepareSettings]:
    """Of the pictures that have other settings than the rest, sizes aside.

    Raises:
        UserError: what the source says of some cannot be.
    """
    known = {id(subset): subset for subset in contents.subsets.values()}
    adapted = {number: adapt_settings(settings, subset) for number, subset in known.items()}
    return {name: own for name, subset in contents.subsets.items() if (own := adapted[id(subset)]) != settings}


def _count_pixels(
    name: str, geometries: Mapping[str, Geometry], own: Mapping[str, PrepareSettings], settings: PrepareSettings
) -> float:
    """Of all files of a picture, about."""
    margin = own.get(name, settings).margin
    area = math.prod(geometries[name].resolution) if name in geometries else settings.resolution**2
    return area * (1 if margin is None else 1 + (1 + margin) ** 2)


def _facts(
    rows: Sequence[PreparedRow],
    bad: Sequence[UnusableFile],
    settings: PrepareSettings,
    resized: Collection[str],
    networks: Networks,
) -> Dataset:
    """Of all pictures together; `resized` are those of another geometry than the settings'."""
    geometry = select_decided(settings, Decides.PIXELS, networks.identities)
    sizes = sorted(f"{row.sha256} {row.bucket}" for row in rows if row.file_name in resized)
    masks = sorted(f"{row.sha256} {row.mask.png_sha256}" for row in rows if row.mask)
    crops = sorted([row.sha256, *row.hand_crop] for row in rows if row.hand_crop)
    own = [one for one in (masks, crops, sizes) if one]
    return Dataset(
        name=settings.dataset,
        pictures=len(rows),
        buckets=_count_buckets(rows),
        hash=hash_data(sorted(row.sha256 for row in rows), geometry, *own)[:16],
        quarantined=len(bad),
        out_of_domain=describe_unsuited_pictures([row.shading for row in rows], settings.domain),
        settings={"prepare": settings.model_dump(mode="json")},
    )


def _count_buckets(rows: Sequence[PreparedRow]) -> dict[str, int]:
    counts = Counter((row.width, row.height) for row in rows)
    return {f"{width}x{height}": count for (width, height), count in sorted(counts.items())}


def _report(
    rows: Sequence[PreparedRow],
    bad: Sequence[UnusableFile],
    others: Counter[str],
    settings: PrepareSettings,
    reused: int,
) -> None:
    """What was left out, then what there is in one line."""
    enlarged = ""
    if settings.findings.enlarged != "off":
        count = sum(row.scale > settings.enlarged_above for row in rows)
        enlarged = f", {count} enlarged more than {settings.enlarged_above:g} times"
    if upscaled := sum(any(note.startswith(UPSCALED) for note in row.notes) for row in rows):
        print(f"prepare: {format_count(upscaled, 'picture')} enlarged by prepare.upscale.network first", flush=True)
    if bad:
        print(
            f"warning: left out, {format_count(len(bad), 'file')}:\n{explain_unusable(bad)}",
            file=sys.stderr,
            flush=True,
        )
    buckets = ", ".join(f"{name}: {count}" for name, count in _count_buckets(rows).items())
    ignored = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in sorted(others.items()))
    print(
        f"prepare: {format_count(len(rows), 'picture')} ({reused} reused) in "
        f"{format_count(len(_count_buckets(rows)), 'bucket')} ({buckets}); "
        f"{len(bad)} quarantined{enlarged}" + (f"; other files: {ignored}" if ignored else ""),
        flush=True,
    )


def _report_uncropped(out: Path, rows: Sequence[PreparedRow], settings: PrepareSettings) -> None:
    """What the uncropped pictures cost, how many are too small for the margin, and in which no face was found."""
    margin = settings.margin or 0.0
    kept = [row.uncropped for row in rows if row.uncropped]
    taken = sum((out / one.file_name).stat().st_size for one in kept) / 1e6
    small = sum(row.scale * (1 + margin) > 1 for row in rows if row.uncropped)
    less = f"; {small} have no pixels for the whole margin of {margin:g}, and get what they have" if small else ""
    print(f"prepare: uncropped pictures take {taken:.1f} MB{less}", flush=True)
    if settings.face.detector is not None:
        faceless = [escape_line(row.file_name) for row in rows if row.uncropped and not row.uncropped.face]
        print(f"prepare: faces found in {len(rows) - len(faceless)} of {len(rows)} pictures", flush=True)
        _warn("no face was found in these; their crops are drawn anywhere", faceless)


def _find_twins(rows: Sequence[PreparedRow]) -> list[str]:
    """Of each the sha256 of the first (by name) of those that look like it: its own, for most."""
    twins = [row.sha256 for row in rows]
    for group in find_near_duplicates([row.look for row in rows]):
        for number in group:
            twins[number] = rows[group[0]].sha256
    return twins


def _with_subset(row: PreparedRow, subset: Subset | None) -> PreparedRow:
    """With what the source says of it now: the row may be of an earlier run."""
    usual, given = Subset(), subset or Subset()
    own = {name: getattr(given, name) for name in ("repeats", "is_reg", "class_tokens", "rules", "pictures")}
    rest = {name: value for name, value in row.to_dict().items() if name not in own}
    return PreparedRow(**rest, **{name: value for name, value in own.items() if value != getattr(usual, name)})


def _report_subsets(rows: Sequence[PreparedRow], contents: SourceContents, subsets: Mapping[str, Subset]) -> None:
    """How a source's own subsets are read, and what of it is not."""
    groups: Counter[tuple[str, int, str]] = Counter()
    for row in rows:
        if (subset := subsets.get(row.file_name, Subset())) != Subset():
            groups[PurePosixPath(row.file_name).parent.as_posix(), subset.repeats, _describe_subset(subset)] += 1
    lines = [
        f"  {escape_line(name)}: {count} x {repeats}{escape_line(rest)}"
        for (name, repeats, rest), count in sorted(groups.items())
    ]
    lines += [
        f"  not taken: {escape_line(name)} ({format_count(count, 'picture')})"
        for name, count in sorted(contents.aside.items())
    ]
    if lines:
        title = f"prepare: read {contents.read_by}:"
        print("\n".join([title, *lines]), flush=True)
    if contents.remarks:
        print("prepare: " + "\n".join(map(escape_line, contents.remarks)), flush=True)


def _describe_subset(subset: Subset) -> str:
    """What is another for it, repeats aside: ", for regularisation, resolution [512, 768], shuffle True"."""
    words = ["for regularisation"] if subset.is_reg else []
    for rules in (subset.pictures, subset.rules):
        for name, value in rules.model_dump(exclude_unset=True).items():
            settings = value if isinstance(value, dict) else {name: value}
            words += [f"{inner} {one!r}" for inner, one in settings.items()]
    return "".join(f", {one}" for one in words)


def _report_masks(rows: Sequence[PreparedRow], contents: SourceContents, settings: PrepareSettings) -> None:
    """How many pictures have a mask, and how much they leave; which leave nothing, and which belong to nothing."""
    masks = {row.file_name: row.mask for row in rows if row.mask}
    if masks:
        made = Counter(mask.source for mask in masks.values())
        own = len(masks) - made[ALPHA] - made[NETWORK]
        kinds = {"of files": own, "of alpha channels": made[ALPHA], "of the network": made[NETWORK]}
        of = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        learned = fmean(mask.share for mask in masks.values())
        counts = f"masks for {len(masks)} of {len(rows)} pictures ({of}); of these {learned:.0%} is to be learned"
        print(f"prepare: {counts}", flush=True)
    _warn(
        "masks of no picture; they are called as it, masks/NAME.png or NAME-masklabel.png",
        list(map(escape_line, contents.lonely_masks)),
    )
    if contents.masks and settings.masks not in FROM_FILES:
        unused = sum(map(len, contents.masks.values()))
        print(
            f"prepare: {format_count(unused, 'file')} with masks left aside (prepare.masks={settings.masks})",
            flush=True,
        )


def _report_edits(contents: SourceContents) -> None:
    """What was said by hand of single pictures; and what is called so and is of none."""
    captions = sum(edit.caption is not None for edit in contents.edits.values())
    crops = sum(edit.crop is not None for edit in contents.edits.values())
    if captions or crops or contents.excluded:
        counts = (
            f"{format_count(captions, 'caption')}, {format_count(crops, 'crop')}, "
            f"{format_count(len(contents.excluded), 'picture')} left out"
        )
        print(f"prepare: hand edits: {counts}", flush=True)
    _warn(
        "hand edits of no picture; they are called as it with .edit.yaml behind, cat.png.edit.yaml",
        list(map(escape_line, contents.lonely_edits)),
    )


def _warn(title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    more = [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    text = "\n".join([f"warning: {title} ({len(lines)}):", *(f"  {line}" for line in lines[:LISTED]), *more])
    print(text, file=sys.stderr, flush=True)
