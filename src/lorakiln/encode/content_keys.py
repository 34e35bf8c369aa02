"""What there is to encode, with a content key for every picture and caption."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.captions import make_plain_text
from lorakiln.console.errors import UserError
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Place
from lorakiln.rows import CaptionedRow, read_captioned
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.marks import Decides, select_decided


@dataclass(frozen=True)
class Row:
    """A picture with its caption.

    Attributes:
        text: with nothing drawn.
        templates: what training draws it from, one or more.
        width, height: pixels.
        sha256: of the source picture's file.
        twin: the sha256 of the first picture that looks like it; its own if there is none.
        caption_source: what wrote the caption: "file", the captioner's kind, or "trigger".
        place: see `families.protocol.Place`.
        is_reg, repeats: see `rows.EncodedRow`.
        key_picture, key_caption: equal keys, equal tensors.
    """

    file_name: str
    text: str
    width: int
    height: int
    sha256: str
    twin: str
    caption_source: str
    place: Place
    key_picture: str
    key_caption: str
    templates: tuple[str, ...]
    is_reg: bool = False
    repeats: int = 1

    @property
    def training(self) -> dict[str, Any]:
        """How it is trained on, as far as that is not as usual."""
        usual = {"is_reg": False, "repeats": 1}
        given = {name: getattr(self, name) for name in usual}
        return {name: value for name, value in given.items() if value != usual[name]}


@dataclass(frozen=True)
class Keys:
    """Content keys under one model and one set of settings.

    Attributes:
        common: what decides both pictures' and captions' bits beside the settings: the code, the model's identity, the
            dtype of the text encoder where it is another than the stored one.
        device: its type.
    """

    common: Mapping[str, Any]
    settings: EncodeSettings
    device: str

    @property
    def variants(self) -> tuple[str, ...]:
        return ("plain", "flip") if self.settings.flip else ("plain",)

    @property
    def encoding(self) -> PromptEncoding:
        return PromptEncoding.of(self.settings)

    def picture(self, file: Path) -> str:
        return hash_data("picture", self.common, self._of_pictures, hash_file(file))

    def caption(self, text: str) -> str:
        return hash_data("caption", self.common, self._of_captions, text)

    @cached_property
    def _of_pictures(self) -> dict[str, Any]:
        return select_decided(self.settings, Decides.LATENTS, {"device": self.device})

    @cached_property
    def _of_captions(self) -> dict[str, Any]:
        return select_decided(self.settings, Decides.EMBEDDINGS, {"device": self.device})


def read_rows(captioned: Path, keys: Keys) -> list[Row]:
    """The rows of a captioned folder, in its order.

    Raises:
        UserError: the folder has no metadata.jsonl, no pictures, or a picture of it is missing.
    """
    metadata = captioned / "metadata.jsonl"
    fix = "run the stages before again, `dvc repro caption`"
    if not metadata.exists():
        raise UserError("no captioned pictures here", where=captioned, fix=fix)
    rows = []
    for entry in read_captioned(captioned):
        file = captioned / entry.file_name
        if not file.is_file():
            raise UserError("this picture of metadata.jsonl is missing", where=file, fix=fix)
        text = make_plain_text(entry.text, keys.settings.captions)
        rows.append(
            Row(
                entry.file_name,
                text,
                entry.width,
                entry.height,
                entry.sha256,
                entry.likeness,
                entry.caption_source,
                _place(entry),
                keys.picture(file),
                keys.caption(text),
                (entry.text, *entry.alternatives),
                entry.is_reg,
                entry.repeats,
            )
        )
    if not rows:
        raise UserError("no pictures here", where=captioned, fix=fix)
    return rows


def _place(entry: CaptionedRow) -> Place:
    left, top = entry.crop[:2]
    return (entry.source_height, entry.source_width, top, left, entry.height, entry.width)


def group_by_bucket(rows: list[Row]) -> dict[tuple[int, int], list[Row]]:
    """Rows by (width, height), both in order."""
    buckets: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        buckets.setdefault((row.width, row.height), []).append(row)
    return dict(sorted(buckets.items()))
