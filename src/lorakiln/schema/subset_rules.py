"""What a dataset's own config says of some of its pictures; what it does not say is the experiment's."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from lorakiln.schema.augment import COLOURS, VARIANTS, AugmentSettings
from lorakiln.schema.base import LARGEST_SIDE, MANY, Settings, check
from lorakiln.schema.caption_rules import CaptionRules
from lorakiln.schema.marks import Private
from lorakiln.schema.prepare import BucketSettings, FaceSettings

LONGEST = 10_000  # letters of a prefix or a suffix
OF_ALL = {"mode", "most_variants"}  # of encode.captions: how texts are embedded, which all pictures have in common
REACH = {"closest", "widest"}
EVERYTHING = AugmentSettings(variants=1, crop="random", **dict.fromkeys(COLOURS, 0.1))
Side = Annotated[int, Field(gt=0, le=LARGEST_SIDE)]


class SubsetRules(Settings):
    """How some pictures are captioned and trained on.

    Attributes:
        prefix, suffix, lines: as in `caption`.
        flip: as in `encode`.
        augment: those of `encode.augment` that are another here, by name.
        captions: those of `encode.captions` that are another here, by name.
        caption_dropout, caption_dropout_every_epochs: as in `train.objective`.
        batch_size: as in `train`, of the steps that show them: they come in batches of their own.
    """

    prefix: Annotated[str | None, Private.WORDS] = Field(None, max_length=LONGEST)
    suffix: Annotated[str | None, Private.WORDS] = Field(None, max_length=LONGEST)
    lines: bool | None = None
    flip: bool | None = None
    augment: dict[str, Any] = {}
    captions: dict[str, Any] = {}
    caption_dropout: float | None = Field(None, ge=0, le=1)
    caption_dropout_every_epochs: int | None = Field(None, ge=0, le=MANY)
    batch_size: int | None = Field(None, ge=1, le=MANY)

    @field_validator("captions")
    @classmethod
    def _are_rules(cls, value: dict[str, Any]) -> dict[str, Any]:
        known = CaptionRules.model_fields.keys() - OF_ALL
        if unknown := sorted(value.keys() - known):
            raise ValueError(f"{', '.join(unknown)}: no rule of some pictures; known: {', '.join(sorted(known))}")
        adapt_rules(CaptionRules(), value)
        return value

    @field_validator("augment")
    @classmethod
    def _are_variants(cls, value: dict[str, Any]) -> dict[str, Any]:
        adapt_augment(EVERYTHING, value)
        return value


class FocusRules(Settings):
    """What of some pictures is looked at.

    Attributes:
        face: those of `prepare.face` that say how close crops around a face are, by name.
        alpha_mask: whether their alpha channel says what is to be learned, where there is no file that does.
    """

    face: dict[str, Any] = {}
    alpha_mask: bool | None = None

    @field_validator("face")
    @classmethod
    def _says_how_close(cls, value: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(value.keys() - REACH):
            raise ValueError(f"{', '.join(unknown)}: no setting of some pictures; known: {', '.join(sorted(REACH))}")
        adapt_face(FaceSettings(), value)
        return value


class PictureRules(FocusRules):
    """And how large they are trained.

    Attributes:
        resolution: the side of a square, or (width, height), whose area a bucket has; pixels.
        bucket: those of `prepare.bucket` that are another here, by name.
    """

    resolution: Side | list[Side] | None = None
    bucket: dict[str, Any] = {}

    @field_validator("resolution")
    @classmethod
    def _has_two_sides(cls, value: int | list[int] | None) -> int | list[int] | None:
        if isinstance(value, list) and len(value) != 2:
            raise ValueError("one number, or [width, height]")
        return value

    @field_validator("bucket")
    @classmethod
    def _are_settings(cls, value: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(value.keys() - BucketSettings.model_fields.keys()):
            known = ", ".join(BucketSettings.model_fields)
            raise ValueError(f"{', '.join(unknown)}: no setting of buckets; known: {known}")
        return value


def adapt_augment(augment: AugmentSettings, own: Mapping[str, Any]) -> AugmentSettings:
    """The experiment's variants for pictures that have some of their own; how many there are, where neither says it,
    is VARIANTS.

    Raises:
        ConfigError: they contradict each other.
    """
    if not own:
        return augment
    merged = {**augment.model_dump(), **own}
    if "variants" not in own:
        usual = AugmentSettings.model_fields
        changed = any(merged[name] != usual[name].default for name in ("crop", *COLOURS) if name in merged)
        merged["variants"] = (augment.variants or VARIANTS) if changed else 0
    return check(AugmentSettings, merged, "augment")


def adapt_face(face: FaceSettings, own: Mapping[str, Any]) -> FaceSettings:
    """The experiment's crops around faces for pictures that have some of their own.

    Raises:
        ConfigError: they contradict each other.
    """
    return check(FaceSettings, {**face.model_dump(), **own}, "face") if own else face


def adapt_rules(rules: CaptionRules, own: Mapping[str, Any]) -> CaptionRules:
    """The experiment's rules for pictures that have some of their own.

    Raises:
        ConfigError: they contradict each other.
    """
    if not own:
        return rules
    merged = {**rules.model_dump(), **own}
    # In one config that would be a slip; of two it says that here tags stay where they are.
    if not any(merged[name] for name in ("shuffle", "tag_dropout", "tag_warmup_steps")):
        merged["keep_tags"] = CaptionRules.model_fields["keep_tags"].default
    if not merged["tag_warmup_steps"]:
        merged["tag_warmup_least"] = CaptionRules.model_fields["tag_warmup_least"].default
    return check(CaptionRules, merged, "encode.captions")
