"""`encode.captions`: what of a picture's caption training draws anew each time, and whether that is embedded ahead."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import Decides, Private

Separator = Annotated[str, Field(max_length=20), Private.NO]


class CaptionRules(Settings, decides=Decides.CHOICES):
    """As kohya's sd-scripts has them for a subset of pictures; `captions.drawing` says in which order they apply.

    What files and trigger words make of a caption is `caption`'s; whole captions are dropped by `train.objective`.
    """

    mode: Literal["auto", "variants", "live"] = Field(
        "auto",
        description="variants: the texts of each picture are embedded ahead; live: those of a step are embedded in it; "
        "auto: variants where no picture has more than most_variants",
    )
    most_variants: int = Field(
        16, ge=2, le=10_000, description="texts of a picture that are embedded ahead; of more, so many are drawn once"
    )
    wildcards: bool = Field(False, description="{a|b} in a caption is one of both, {{ and }} are braces")
    separator: Separator = Field(",", min_length=1, description="between the tags of a caption")
    shuffle: bool = Field(False, description="tags in another order each time")
    keep_tags: int = Field(0, ge=0, le=MANY, description="tags at the beginning that stay where they are")
    keep_separator: Separator = Field(
        "", description="such as |||: what is before it stays where it is, and so does what is behind a second one"
    )
    secondary_separator: Separator = Field(
        "", description="such as ;;;: joins tags that go together, and becomes the separator in the end"
    )
    tag_dropout: float = Field(0.0, ge=0, le=1, description="how often a tag that is not kept is left out")
    tag_warmup_steps: int = Field(
        0, ge=0, le=MANY, description="until this step the tags that are not kept become more, from the first on"
    )
    tag_warmup_least: int = Field(1, ge=0, le=MANY, description="so many of them are there at the first step")

    @property
    def moves_tags(self) -> bool:
        """Whether the tags of a caption are another list from one time to the next."""
        return self.shuffle or self.tag_dropout > 0 or self.tag_warmup_steps > 0

    @property
    def draws(self) -> bool:
        """Whether one text becomes several."""
        return self.wildcards or self.moves_tags

    @model_validator(mode="after")
    def _means_something(self) -> "CaptionRules":
        moving = "shuffle, tag_dropout or tag_warmup_steps"
        for name, meant, needs in (
            ("keep_tags", self.moves_tags, moving),
            ("tag_warmup_least", self.tag_warmup_steps, "tag_warmup_steps above 0"),
        ):
            if not meant and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} {getattr(self, name)} has no meaning without {needs}")
        if self.tag_warmup_steps and self.mode == "variants":
            raise ValueError(
                "tag_warmup_steps makes other texts in every step, which cannot be embedded ahead: set mode to live "
                "or auto"
            )
        separators = [one for one in (self.separator, self.keep_separator, self.secondary_separator) if one]
        for one in separators:
            if any(other != one and one in other for other in separators) or separators.count(one) > 1:
                raise ValueError(f"one separator is part of another: {', '.join(map(repr, separators))}")
        return self
