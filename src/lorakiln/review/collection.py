"""A dataset as the review shows it: every picture with its bucket, caption, edit and findings. None is decoded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.prepare.buckets import Geometry, Size, choose_bucket
from lorakiln.prepare.decode import measure_box, measure_picture
from lorakiln.prepare.findings import compute_cut_share
from lorakiln.prepare.unusable_files import Refused
from lorakiln.review.decoded import Decoded, read_decoded
from lorakiln.review.small_buckets import TrainedPicture, describe_small_buckets
from lorakiln.schema.picture_edit import PictureEdit
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import ValidationSettings
from lorakiln.sources import CaptionProblem, Captions, PictureSource, SourceContents, Subset, open_source
from lorakiln.sources.folder.captions import PRECEDENCE
from lorakiln.sources.folder.edits import read_edit

ENDINGS = (".txt", ".caption")
NOTHING = PictureEdit(excluded=False)
UNKNOWN = "no bucket"  # of a picture that cannot be used


@dataclass(frozen=True)
class Rules:
    """What of the settings decides what is shown.

    Attributes:
        prepare: with the buckets.
        endings, precedence: of captions; see `caption.extensions` and `caption.precedence`.
        prepared: what `prepare` wrote, which may be of another dataset or not there; None: nobody has looked.
        batch: pictures of a training step; None: nothing is known of the training.
        validation: how pictures are held out from it.
    """

    prepare: PrepareSettings
    endings: Sequence[str] = ENDINGS
    precedence: Sequence[str] = PRECEDENCE
    prepared: Path | None = None
    batch: int | None = None
    validation: ValidationSettings = ValidationSettings()


@dataclass(frozen=True)
class ShownPicture:
    """A picture of the dataset.

    Attributes:
        name: its path below the dataset's folder.
        size: (width, height) in pixels, upright; None where it cannot be read.
        bucket: "512x768", after a crop by hand; UNKNOWN.
        caption: as the files have it, without the trigger words; "": it has none.
        caption_from: the file that it stands in; "": none.
        edit: what is said by hand.
        findings: what is odd, in words.
        has_mask: whether a file beside it says what is to be learned.
        is_reg: whether it is a regularisation picture.
        alike: the first by name of the pictures that look like it; "": none does.
    """

    name: str
    size: Size | None
    bucket: str
    caption: str
    caption_from: str
    edit: PictureEdit
    findings: tuple[str, ...] = ()
    has_mask: bool = False
    is_reg: bool = False
    alike: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the page takes it."""
        told: dict[str, Any] = {"name": self.name, "size": self.size, "bucket": self.bucket, "caption": self.caption}
        told |= {"from": self.caption_from, "crop": self.edit.crop, "excluded": self.edit.excluded}
        return told | {"findings": self.findings, "mask": self.has_mask, "reg": self.is_reg, "alike": self.alike}


@dataclass
class Collection:
    """The dataset's pictures, excluded ones too, by name; it is read once, and a picture again where it was changed.

    Attributes:
        raw: the dataset's folder.
        problems: (name, what is wrong) of files that are no pictures that one could review.
        decoded: what `prepare` has found, by name.
    """

    raw: Path
    rules: Rules
    source: PictureSource
    contents: SourceContents
    captions: Captions
    pictures: dict[str, ShownPicture] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    decoded: dict[str, Decoded] = field(default_factory=dict)
    _sizes: dict[str, tuple[Size | None, str]] = field(default_factory=dict)

    def read(self, name: str) -> ShownPicture:
        """Look at a picture's files anew, and give what is shown of it.

        Raises:
            UserError: its edit is none.
        """
        edit = read_edit(self.raw, name, self.rules.prepare.follow_symlinks) or NOTHING
        if name not in self._sizes:
            self._sizes[name] = self._measure(name)
        size, trouble = self._sizes[name]
        bucket, findings = self._place(name, size, edit)
        caption, origin, wrong = self._read_caption(name)
        decoded = self.decoded.get(name, Decoded())
        shown = ShownPicture(
            name,
            size,
            bucket,
            caption,
            origin,
            edit,
            tuple(one for one in (trouble, *findings, *decoded.findings, wrong) if one),
            name in self.contents.masks,
            self.contents.is_reg(name),
            decoded.group,
        )
        self.pictures[name] = shown
        return shown

    def _measure(self, name: str) -> tuple[Size | None, str]:
        try:
            return measure_picture(self.raw / name), ""
        except Refused as refused:
            return None, refused.reason

    def _place(self, name: str, size: Size | None, edit: PictureEdit) -> tuple[str, list[str]]:
        """The bucket, and what is odd about how the picture comes into it."""
        if size is None:
            return UNKNOWN, []
        settings, findings = self.rules.prepare, []
        try:
            kept = measure_box(edit.box, size) if edit.box else size
            subset = self.contents.subsets.get(name, Subset())
            geometry = Geometry.of(settings, subset.pictures, subset.where)
            placement = choose_bucket(kept, geometry.resolution, geometry.bucket)
        except Refused as refused:
            return UNKNOWN, [refused.reason]
        except ValueError:
            return UNKNOWN, ["smaller than the smallest bucket"]
        levels = settings.findings
        if levels.too_small != "off" and min(kept) < settings.min_side:
            findings.append("too small")
        if max(kept) > settings.max_aspect * min(kept):
            findings.append("too long for its width")
        if size[0] * size[1] > settings.max_pixels:
            findings.append("too many pixels")
        if levels.enlarged != "off" and placement.scale > settings.enlarged_above:
            findings.append(f"enlarged more than {settings.enlarged_above:g} times")
        if levels.cropped != "off" and (share := compute_cut_share(placement)) > settings.cropped_above:
            findings.append(f"cropped ({share:.0%} of it)")
        return "{}x{}".format(*placement.bucket), findings

    def _read_caption(self, name: str) -> tuple[str, str, str]:
        """Its text, the file that it stands in, and what is wrong with that."""
        file = self.captions.find(name)
        if file is None:
            return "", "", "no caption"
        lines = self.captions.read_lines(file, name)
        if isinstance(lines, CaptionProblem):
            return "", file, f"its caption cannot be used: {lines.what}"
        return "\n".join(lines), file, ""

    def count_buckets(self) -> dict[str, int]:
        """How many pictures are used of each bucket, sorted."""
        counts = Counter(one.bucket for one in self.pictures.values() if not one.edit.excluded)
        return dict(sorted(counts.items()))

    def describe_small_buckets(self) -> dict[str, str]:
        """What is odd about the buckets of fewer pictures to train on than a batch has, by their names."""
        if self.rules.batch is None or self.rules.prepare.findings.small_bucket == "off":
            return {}
        buckets: dict[str, list[TrainedPicture]] = {}
        for one in self.pictures.values():
            if not one.edit.excluded and one.bucket != UNKNOWN:
                likeness = self.decoded.get(one.name, Decoded()).likeness
                subset = self.contents.subsets.get(one.name, Subset())
                buckets.setdefault(one.bucket, []).append(TrainedPicture(likeness, subset))
        return describe_small_buckets(buckets, self.rules.batch, self.rules.validation)


def open_collection(raw: Path, rules: Rules) -> Collection:
    """Read a dataset.

    Raises:
        UserError: it is no folder, or there is no picture in it; a dataset's config is wrong.
    """
    source = open_source(raw, rules.prepare.follow_symlinks, rules.prepare.source)
    contents = source.scan()
    found = Collection(raw, rules, source, contents, source.captions(rules.endings, rules.precedence))
    found.problems = [(one.source, one.record()["reason"]) for one in contents.bad]
    if rules.prepare.findings.misnamed != "off":
        found.problems += [(name, f"a picture without its ending {end}") for name, end in contents.misnamed.items()]
    found.problems += [(name, "a mask of no picture") for name in contents.lonely_masks]
    found.problems += [(name, "a hand edit of no picture") for name in contents.lonely_edits]
    names = sorted([*contents.files, *contents.excluded])
    if not names and not found.problems:
        raise UserError("no pictures here", where=raw, fix="name a folder with pictures: data/raw/NAME")
    if names and not any((raw / name).exists() for name in names):
        fix = (
            "unpack it into files to look at it; hand edits and captions beside it are written as docs/datasets.md says"
        )
        raise UserError("its pictures are in shards or tables, and the review shows files", where=raw, fix=fix)
    found.decoded = read_decoded(rules.prepared, raw, rules.prepare) if rules.prepared else {}
    for name in names:
        found.read(name)
    return found
