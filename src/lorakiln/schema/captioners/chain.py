"""Several captioners in a row: what each writes of a picture, one after the other."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorakiln.schema.captioners import CAPTIONERS, CaptionSettings
from lorakiln.schema.marks import Decides, Private

Link = Annotated[CaptionSettings, CAPTIONERS.chosen(without=("chain", "none"))]


class ChainSettings(CaptionSettings):
    captioner: Literal["chain"] = "chain"
    links: dict[str, Link] = Field(
        min_length=1, description="the captioners by names of one's own, in their order, each with its settings"
    )
    separator: Annotated[str, Decides.CAPTIONS, Private.NO] = Field(
        ", ", max_length=20, description="between what each has written"
    )

    @model_validator(mode="after")
    def _links_write_alone(self) -> "ChainSettings":
        if self.source:
            raise ValueError("source has no meaning with the captioner chain: set links.NAME.source")
        for name, link in self.links.items():
            for common, field in CaptionSettings.model_fields.items():
                if common in ("captioner", "source") or getattr(link, common) == field.get_default():
                    continue
                raise ValueError(
                    f"links.{name}.{common} {getattr(link, common)!r} has no meaning: captions are put together as "
                    f"a whole; set caption.{common}"
                )
        return self
