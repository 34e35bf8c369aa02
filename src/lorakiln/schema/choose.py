"""`choose`: which of the saved steps, and at which weight."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.evaluate import Weight
from lorakiln.schema.marks import Decides


class ChooseSettings(Settings, decides=Decides.REPORT):
    checkpoints: Literal["auto", "none", "last", "best", "all"] = Field(
        "auto",
        description="auto: of several saved steps all, the weaker ones with fewer pictures, and of one alone none; "
        "none: nothing is drawn; all: each with all pictures; last, best (lowest validation loss): that step at each "
        "weight",
    )
    weights: list[Annotated[Weight, Field(gt=0)]] = Field(
        [0.6, 0.8, 1.0], min_length=1, description="at which each step is drawn; at 1 too, if all are greater"
    )
    most_steps: int = Field(
        8, ge=1, le=MANY, description="most saved steps that are looked at, evenly spaced, the last too"
    )
    most_prompts: int = Field(24, ge=2, le=MANY, description="most of evaluate.prompts that are drawn, evenly spaced")
    most_seeds: int = Field(2, ge=1, le=MANY, description="most of evaluate.seeds that are drawn")
