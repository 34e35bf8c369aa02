"""`train.tokens`: new words whose vectors are trained (textual inversion, arXiv 2208.01618)."""

from typing import Annotated

from pydantic import Field

from lorakiln.schema.base import Settings
from lorakiln.schema.marks import Decides, Private

MOST = 75  # vectors of a word: more than a text encoder reads at once


class TokenSettings(Settings, decides=Decides.WEIGHTS):
    """One word's."""

    init: Annotated[str | None, Private.WORDS] = Field(
        None,
        pattern=r"\S",
        description="words whose tokens its vectors begin as, over and over if there are fewer; null: drawn at random, "
        "with the mean and the deviation of the encoder's own",
    )
    vectors: int | None = Field(
        None, ge=1, le=MOST, description="how many the word has, as so many tokens of a prompt; null: init's, or 1"
    )
    lr: float | None = Field(None, ge=0, le=1, description="null: train.optimizer.lr")
    max_norm: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="a vector that is longer than so many times the mean length of the encoder's own is shortened to "
        "it after every step; null: none is",
    )
