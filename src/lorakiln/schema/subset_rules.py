"""What a dataset's own config says of some of its pictures; what it does not say is the experiment's."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from lorakiln.schema.base import LARGEST_SIDE, Settings, check
from lorakiln.schema.caption_rules import CaptionRules
from lorakiln.schema.marks import Private
from lorakiln.schema.prepare import BucketSettings

LONGEST = 10_000  # letters of a prefix or a suffix
OF_ALL = {"mode", "most_variants"}  # of encode.captions: how texts are embedded, which all pictures have in common
Side = Annotated[int, Field(gt=0, le=LARGEST_SIDE)]


class SubsetRules(Settings):
    """How some pictures are captioned and trained on.

    Attributes:
        prefix, suffix, lines: as in `caption`.
        flip: as in `encode`.
        captions: those of `encode.captions` that are another here, by name.
        caption_dropout: as in `train.objective`.
    """

    prefix: Annotated[str | None, Private.WORDS] = Field(None, max_length=LONGEST)
    suffix: Annotated[str | None, Private.WORDS] = Field(None, max_length=LONGEST)
    lines: bool | None = None
    flip: bool | None = None
    captions: dict[str, Any] = {}
    caption_dropout: float | None = Field(None, ge=0, le=1)

    @field_validator("captions")
    @classmethod
    def _are_rules(cls, value: dict[str, Any]) -> dict[str, Any]:
        known = CaptionRules.model_fields.keys() - OF_ALL
        if unknown := sorted(value.keys() - known):
            raise ValueError(f"{', '.join(unknown)}: no rule of some pictures; known: {', '.join(sorted(known))}")
        adapt_rules(CaptionRules(), value)
        return value


class SizeRules(Settings):
    """How large some pictures are trained.

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
