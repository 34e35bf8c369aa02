"""Nobody writes captions."""

from typing import Literal

from lorakiln.schema.captioners import TextModelSettings


class NobodySettings(TextModelSettings):
    """`caption.captioner=none` silences a captioner whose settings may stand where they are."""

    captioner: Literal["none"] = "none"
