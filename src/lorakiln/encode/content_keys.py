"""What there is to encode, with a content key for every picture and caption."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.captions import make_plain_text
from lorakiln.console.errors import UserError
from lorakiln.encode.variants import ViewedPicture, draw_views, go_round, list_variants, locate_view
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Place
from lorakiln.rows import CaptionedRow, iterate_captioned
from lorakiln.schema.augment import AugmentSettings
from lorakiln.schema.caption_rules import CaptionRules
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.marks import Decides, select_decided
from lorakiln.schema.subset_rules import SubsetRules, adapt_augment, adapt_rules


@dataclass(frozen=True)
class Row:
    """A picture with its caption.

    Attributes:
        text: with nothing drawn.
        templates: what training draws it from, one or more.
        width, height: pixels.
        sha256: of the source picture's file.
        twin: the sha256 of the first picture that looks like it; its own if there is none.
        caption_source: what wrote the caption: "edit", "file", the captioner's kind, or "trigger".
        viewed: its files, and how it is seen.
        places: see `families.protocol.Place`; of every variant.
        is_reg, repeats: see `rows.EncodedRow`.
        key_picture, key_caption: equal keys, equal tensors.
        key_mask, mask_share: see `rows.EncodedRow`.
        rules: by which its captions are drawn.
        own: what its subset has of these rules and of dropping captions, see `rows.EncodedRow`.
    """

    file_name: str
    text: str
    width: int
    height: int
    sha256: str
    twin: str
    caption_source: str
    viewed: ViewedPicture
    places: tuple[Place, ...]
    key_picture: str
    key_caption: str
    templates: tuple[str, ...]
    is_reg: bool = False
    repeats: int = 1
    key_mask: str | None = None
    mask_share: float | None = None
    rules: CaptionRules = CaptionRules()
    own: SubsetRules = SubsetRules()

    @property
    def training(self) -> dict[str, Any]:
        """How it is trained on, as far as that is not as usual."""
        usual = {"is_reg": False, "repeats": 1, "key_mask": None, "mask_share": None}
        given = {name: getattr(self, name) for name in usual}
        own = self.own.model_dump(mode="json", exclude_unset=True)
        told = {name: value for name, value in given.items() if value != usual[name]}
        return {**told, **({"rules": own} if own else {})}


@dataclass(frozen=True)
class Keys:
    """Content keys under one model and one set of settings.

    Attributes:
        common: what decides both pictures' and captions' bits beside the settings: the code, the model's identity, the
            dtype of the text encoder where it is another than the stored one.
        settings: as they are where any picture is mirrored, if one is, and as many variants drawn as of any.
        device: its type.
        mirrored: whether those are that have no rule of their own about it.
        augment: the variants of those that have no rule of their own about them; None: as the settings say.
    """

    common: Mapping[str, Any]
    settings: EncodeSettings
    device: str
    mirrored: bool = False
    augment: AugmentSettings | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        return list_variants(self.settings)

    @property
    def encoding(self) -> PromptEncoding:
        return PromptEncoding.of(self.settings)

    def picture(self, viewed: ViewedPicture) -> str:
        uncropped = hash_file(viewed.uncropped) if viewed.uncropped else None
        # What is drawn follows from the source's bytes, which may be others for the same pixels.
        drawn = [[asdict(view) for view in viewed.views], uncropped] if len(viewed.views) > 1 else []
        sides = _tell_sides(viewed)
        return hash_data("picture", self.common, self._of_pictures, hash_file(viewed.file), *drawn, *sides)

    def mask(self, viewed: ViewedPicture) -> str | None:
        if viewed.mask is None:
            return None
        files = [hash_file(path) for path in (viewed.mask, viewed.uncropped_mask) if path]
        return hash_data(
            "mask", self.common, self._of_pictures, files, [view.box for view in viewed.views], *_tell_sides(viewed)
        )

    def caption(self, text: str) -> str:
        return hash_data("caption", self.common, self._of_captions, text)

    @cached_property
    def _of_pictures(self) -> dict[str, Any]:
        return select_decided(self.settings, Decides.LATENTS, {"device": self.device})

    @cached_property
    def _of_captions(self) -> dict[str, Any]:
        return select_decided(self.settings, Decides.EMBEDDINGS, {"device": self.device})


def adapt_variants(captioned: Path, settings: EncodeSettings) -> EncodeSettings:
    """The settings with `flip` and `augment.variants` as they must be for the pictures of a captioned folder, some of
    which may be mirrored or drawn by their subset's rules, or none.

    Raises:
        ConfigError: what a subset says of its variants contradicts the settings.
    """
    flip, most = False, 0
    try:
        for row in iterate_captioned(captioned):
            flip = flip or _is_mirrored(row, settings.flip)
            most = max(most, adapt_augment(settings.augment, row.rules.augment).variants)
    except FileNotFoundError:  # `read_rows` tells
        return settings
    return settings.model_copy(update={"flip": flip, "augment": settings.augment.model_copy(update={"variants": most})})


def _is_mirrored(row: CaptionedRow, usual: bool) -> bool:
    return usual if row.rules.flip is None else row.rules.flip


def _tell_sides(viewed: ViewedPicture) -> list[str]:
    return [] if viewed.mirrored else ["not mirrored"]


def read_rows(captioned: Path, keys: Keys) -> list[Row]:
    """The rows of a captioned folder, in its order.

    Raises:
        UserError: the folder has no metadata.jsonl, no pictures, or a picture of it is missing.
    """
    metadata, drawn = captioned / "metadata.jsonl", keys.settings.augment
    fix = "run the stages before again, `dvc repro caption`"
    if not metadata.exists():
        raise UserError("no captioned pictures here", where=captioned, fix=fix)
    rows = []
    for entry in iterate_captioned(captioned):
        for name in entry.files:
            if not (captioned / name).is_file():
                raise UserError("this picture of metadata.jsonl is missing", where=captioned / name, fix=fix)
        augment = adapt_augment(keys.augment or drawn, entry.rules.augment)
        if augment.crop != "centre" and not entry.uncropped:
            raise UserError(
                f"encode.augment.crop={augment.crop} needs the picture before its crop, which `prepare` has not kept",
                where=captioned / entry.file_name,
                fix="set prepare.margin=0.25, and run `dvc repro prepare`",
            )
        mirrored = not keys.settings.flip or _is_mirrored(entry, keys.mirrored)
        views = go_round(draw_views(entry, augment), 1 + drawn.variants)
        viewed = ViewedPicture(captioned / entry.file_name, views=views, mirrored=mirrored)
        if entry.uncropped and augment.crop != "centre":
            size = (entry.uncropped.width, entry.uncropped.height)
            viewed = replace(viewed, uncropped=captioned / entry.uncropped.file_name, uncropped_size=size)
        if entry.mask:
            beside = captioned / entry.mask.uncropped if viewed.uncropped and entry.mask.uncropped else None
            viewed = replace(viewed, mask=captioned / entry.mask.file_name, uncropped_mask=beside)
        sides = (False, True) if keys.settings.flip else (False,)
        rules = adapt_rules(keys.settings.captions, entry.rules.captions)
        text = make_plain_text(entry.text, rules)
        rows.append(
            Row(
                entry.file_name,
                text,
                entry.width,
                entry.height,
                entry.sha256,
                entry.likeness,
                entry.caption_source,
                viewed,
                tuple(locate_view(entry, view, side and viewed.mirrored) for view in viewed.views for side in sides),
                keys.picture(viewed),
                keys.caption(text),
                (entry.text, *entry.alternatives),
                entry.is_reg,
                entry.repeats,
                keys.mask(viewed),
                entry.mask.share if entry.mask else None,
                rules,
                _select_later(entry.rules),
            )
        )
    if not rows:
        raise UserError("no pictures here", where=captioned, fix=fix)
    return rows


def _select_later(rules: SubsetRules) -> SubsetRules:
    """What training needs of them."""
    kept = {"captions", "caption_dropout", "caption_dropout_every_epochs", "batch_size"}
    return SubsetRules.model_validate(rules.model_dump(include=kept, exclude_unset=True))


def group_by_bucket(rows: list[Row]) -> dict[tuple[int, int], list[Row]]:
    """Rows by (width, height), both in order."""
    buckets: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        buckets.setdefault((row.width, row.height), []).append(row)
    return dict(sorted(buckets.items()))
