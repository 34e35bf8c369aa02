"""The rows of pictures that the stages hand on: metadata.jsonl of prepare and of caption, and those of index.json."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field

from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.json_files import iterate_jsonl, read_jsonl, write_jsonl
from lorakiln.facts.base_model import BaseFacts
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.facts.file import Facts, MadeWith
from lorakiln.schema.subset_rules import PictureRules, SubsetRules

VARIANT_SHEET = "variants.png"  # beside index.json where variants are drawn: all of some pictures
Picture = TypeVar("Picture", bound="PreparedRow")
LOSS_MASK = "loss_mask"  # the tensor of an encoded bucket


# As a default pydantic would copy them into each row: a kilobyte and more a picture.
_NO_RULES, _NO_SIZES = SubsetRules(), PictureRules()


def _share_rules() -> SubsetRules:
    return _NO_RULES


def _share_sizes() -> PictureRules:
    return _NO_SIZES


class Uncropped(Facts):
    """A picture before its crop, as `prepare.margin` has it kept.

    Attributes:
        file_name: relative to the stage's folder.
        width, height: pixels, of the whole source.
        png_sha256: of the file.
        face: where the largest face is, left, top, right and bottom, pixels; None where there is none, and where none
            was looked for.
        closest, widest: crops around it: their shorter sides, in multiples of the face's longer one.
    """

    file_name: str
    width: int
    height: int
    png_sha256: str
    face: tuple[int, int, int, int] | None = None
    closest: float = 1.0
    widest: float = 1.0


class PictureMask(Facts):
    """What of a picture is to be learned: a PNG of its size, white where it is.

    Attributes:
        file_name: relative to the stage's folder.
        png_sha256: of that file.
        source: its file below the dataset's folder; "alpha": the picture's alpha channel; "network": what
            prepare.segment has found.
        share: the mean of it, in [0, 1].
        uncropped, uncropped_sha256: the same of the picture before its crop, where that is kept.
    """

    file_name: str
    png_sha256: str
    source: str
    share: float
    uncropped: str | None = None
    uncropped_sha256: str | None = None


class PreparedRow(Facts):
    """A picture as `prepare` has made it; sizes in pixels. In the order in which the file has it.

    Attributes:
        file_name: relative to the stage's folder.
        bucket: "64x48", width x height.
        source: the picture's file below the dataset's folder, of `source_width` x `source_height`; where it was cropped
            by hand, these are the box's.
        sha256: of that file.
        resized, crop: what the source was resized to, and what was cut out of that: left, top, right and bottom.
        scale: of the resizing.
        notes: what is odd about the source, in words.
        key: equal keys, equal picture and row but for the names.
        png_sha256: of the picture.
        look, shading: see `prepare.near_duplicates` and `prepare.shading`.
        blur, border: see `prepare.blur` and `prepare.border`, of the picture as it is trained on.
        twin: the sha256 of the first picture that looks like it, its own if there is none; None: nobody has looked.
        repeats, is_reg, class_tokens, rules, pictures: what its source says of it, see `sources.Subset`.
        uncropped: the picture before its crop, where it is kept.
        mask: what of it is to be learned; None: all of it.
        hand_crop: the box, left, top, right and bottom, that was taken from the upright file before all else.
    """

    file_name: str
    width: int
    height: int
    bucket: str
    source: str
    sha256: str
    source_width: int
    source_height: int
    resized: tuple[int, int] | None = None
    crop: tuple[int, int, int, int]
    scale: float = 1.0
    notes: list[str] = []
    key: str = ""
    png_sha256: str = ""
    look: str = ""
    shading: float = 0.0
    blur: float = 0.0
    border: float = 0.0
    twin: str | None = None
    repeats: int = 1
    is_reg: bool = False
    class_tokens: str = ""
    rules: SubsetRules = Field(default_factory=_share_rules)
    pictures: PictureRules = Field(default_factory=_share_sizes)
    uncropped: Uncropped | None = None
    mask: PictureMask | None = None
    hand_crop: tuple[int, int, int, int] | None = None

    @property
    def likeness(self) -> str:
        """Equal for pictures that look the same."""
        return self.twin or self.sha256

    @property
    def files(self) -> list[str]:
        """All that there is of it, relative to the stage's folder."""
        return list(self.sums)

    @property
    def sums(self) -> dict[str, str]:
        """The same, each with the sha256 that it was written with."""
        found = {self.file_name: self.png_sha256}
        if self.uncropped:
            found[self.uncropped.file_name] = self.uncropped.png_sha256
        if self.mask:
            found[self.mask.file_name] = self.mask.png_sha256
            if self.mask.uncropped:
                found[self.mask.uncropped] = self.mask.uncropped_sha256 or ""
        return found


class CaptionedRow(PreparedRow):
    """And with its caption.

    Attributes:
        text: trigger words included.
        alternatives: more of its captions, of which training draws as of `text`, trigger words included.
        caption_source: what wrote it: "edit", "file", the captioner's kind, "class_tokens", or "trigger".
        caption_file: below the dataset's folder.
        caption_key, written: the captioner's, to be found again by a later run; written is without trigger words.
        text_key: of the texts as the stage wrote them; "": a version wrote them that did not say.
        links: of several captioners in a row what each has written, by its key.
    """

    text: str
    alternatives: list[str] = []
    caption_source: str = "file"
    caption_file: str | None = None
    caption_key: str | None = None
    written: str | None = None
    text_key: str = ""
    links: dict[str, str] = {}

    @property
    def texts(self) -> list[str]:
        """All of its captions."""
        return [self.text, *self.alternatives]

    @property
    def is_edited(self) -> bool:
        """Whether somebody has changed the texts in the stage's own output."""
        return bool(self.text_key) and self.text_key != compute_text_key(self.texts)


class EncodedRow(Facts):
    """A row of index.json, whose tensors are in the bucket's file under the same number.

    Attributes:
        sha256, twin, caption_source: as in the captioned row.
        text: the caption, with nothing drawn: what validation, samples and reports use.
        key_picture, key_caption: equal keys, equal tensors.
        is_reg: whether it is a regularisation picture, of what the base shall go on to know (prior preservation).
        repeats: how often an epoch shows it.
        key_mask, mask_share: of what is to be learned of it: equal keys, equal masks; the mean over the prepared
            picture, in [0, 1]. None: all of it is.
        unread: what of the text is beyond what the model reads.
        templates: where captions are drawn, what the rules are applied to, one of them each time.
        rules: what its subset has of its own: of the rules by which captions are drawn, and how often it has none.
        shares: where they are embedded ahead, which of the index's drawn texts come, and how often: they add up to 1.
    """

    file_name: str
    sha256: str
    twin: str | None = None
    text: str
    caption_source: str = "file"
    key_picture: str
    key_caption: str
    unread: str = ""
    is_reg: bool = False
    repeats: int = 1
    key_mask: str | None = None
    mask_share: float | None = None
    templates: list[str] = []
    rules: SubsetRules = Field(default_factory=_share_rules)
    shares: list[tuple[int, float]] = []

    @property
    def likeness(self) -> str:
        """Equal for pictures that look the same."""
        return self.twin or self.sha256


def compute_text_key(texts: Sequence[str]) -> str:
    """12 hex digits for the captions of a picture."""
    return hash_data(*texts)[:12]


def read_captioned(folder: Path) -> list[CaptionedRow]:
    """The rows of a captioned folder.

    Raises:
        Missing: there is no metadata.jsonl (also a FileNotFoundError).
        Damaged: a row is none of a captioned picture.
    """
    return list(iterate_captioned(folder))


def iterate_captioned(folder: Path) -> Iterator[CaptionedRow]:
    """The same, each when it is asked for."""
    path = folder / "metadata.jsonl"
    return (CaptionedRow.of(row, path) for row in iterate_jsonl(path))


def read_prepared(folder: Path) -> list[PreparedRow]:
    """The rows of a prepared folder; raises as `read_captioned`."""
    path = folder / "metadata.jsonl"
    return [PreparedRow.of(row, path) for row in read_jsonl(path)]


def select_files(rows: Iterable[Picture]) -> list[Picture]:
    """Of the pictures that are one file, for several subsets, the first."""
    return list({row.source: row for row in reversed(list(rows))}.values())[::-1]


def write_rows(folder: Path, rows: Iterable[PreparedRow]) -> None:
    """Write metadata.jsonl, whole or not at all."""
    write_jsonl(folder / "metadata.jsonl", (row.to_dict() for row in rows))


class EncodedBucket(Facts):
    """Pictures of one size.

    Attributes:
        name: "64x48", width x height in pixels.
        file: of their tensors.
    """

    name: str
    file: str
    rows: list[EncodedRow]


class DrawnText(Facts):
    """A text that training may draw; `key` as a caption's."""

    text: str
    key: str


class DrawnCaptions(Facts):
    """Where training draws captions, how that is done.

    Attributes:
        mode: "variants": `texts` are embedded in `file`, in their order; "live": they are embedded when they are drawn.
    """

    mode: Literal["variants", "live"]
    file: str = ""
    texts: list[DrawnText] = []


class Index(MadeWith):
    """index.json of an encoded folder.

    Attributes:
        variants: of each picture, by which training draws: "plain", "flip", "augment1", "augment1_flip".
        captions: None: each picture has its one text.
        by_variant: tensors beside the latents that are another for each variant, and have its dimension too.
        trigger_pieces: those of the trigger words that the base reads in several; see `families.trigger_words`.
        empty: the empty caption's content key.
        hash: the identity of all that is encoded.
    """

    dataset: DatasetFacts
    base: BaseFacts
    variants: list[str]
    buckets: list[EncodedBucket]
    captions: DrawnCaptions | None = None
    by_variant: list[str] = []
    trigger_pieces: dict[str, list[str]] = {}
    empty: str
    hash: str
