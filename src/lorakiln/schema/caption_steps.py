"""`caption.rules`: what is done to every caption, one after the other, before training draws from it."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorakiln.schema.base import MANY, Settings

Tag = Annotated[str, Field(min_length=1, max_length=200)]


class CaptionRule(Settings):
    """One of them. What it takes depends on what it does."""

    do: Literal["remove", "replace", "deduplicate", "shorten", "prefix", "suffix", "trigger"] = Field(
        description="remove or replace tags, or what a pattern finds; leave out tags that came already; keep the first "
        "tags or words; put the prefix, the suffix or the trigger words where they then stand"
    )
    tags: list[Tag] = Field([], description="what is between commas, whole, in any case and either spelling")
    pattern: str | None = Field(None, min_length=1, max_length=1000, description="a regular expression, in any case")
    by: str = Field("", max_length=1000, description="what takes their place; a pattern's groups are \\1, \\2, ...")
    most: int | None = Field(None, ge=1, le=MANY, description="how many are kept")
    unit: Literal["tags", "words"] = Field("tags", description="of most")

    @model_validator(mode="after")
    def _takes_what_it_needs(self) -> "CaptionRule":
        finds = self.do in ("remove", "replace")
        if finds and bool(self.tags) == bool(self.pattern):
            raise ValueError(f"{self.do} needs tags or a pattern, one of both")
        if self.do == "replace" and not self.by.strip():
            raise ValueError("replace needs by, what takes their place; do: remove leaves them out")
        if (self.do == "shorten") != (self.most is not None):
            raise ValueError(
                "shorten needs most, a number of tags or words" if self.most is None else self._useless("most")
            )
        for name, used in (("tags", finds), ("pattern", finds), ("by", self.do == "replace"), ("unit", self.most)):
            if not used and getattr(self, name) != type(self).model_fields[name].get_default():
                raise ValueError(self._useless(name))
        try:
            re.compile(self.pattern or "").sub(self.by if self.pattern else "", "")
        except (re.error, IndexError) as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from None
        return self

    def _useless(self, name: str) -> str:
        return f"{name} has no meaning with do: {self.do}"
