"""`train.text_encoders`: what text encoders that are trained have of their own, beside what `train.adapter` says."""

from typing import Annotated

from pydantic import Field

from lorakiln.schema.base import Count, Fraction, Settings
from lorakiln.schema.marks import HERE, Decides, Private

Rate = Annotated[float, Field(ge=0, le=1)]


class EncoderSettings(Settings, decides=Decides.WEIGHTS):
    """One encoder's; null: as the section above has it."""

    rank: int | None = Field(None, gt=0, le=1024, description="null: train.adapter.rank")
    alpha: float | None = Field(
        None, gt=0, le=1e6, description="null: in the same ratio to its rank as train.adapter has it"
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="null: train.adapter.dropout")
    targets: Annotated[str | list[str] | None, Private.NO] = Field(
        None, description="a preset (attention, kohya), or endings of its module names, or patterns with *; null: kohya"
    )
    lr: Rate | None = Field(None, description="null: train.optimizer.lr")


class TextEncodersSettings(EncoderSettings):
    """All encoders', and what one of several has otherwise."""

    stop: Annotated[Count | Fraction | None, HERE] = Field(
        None, description="the step, or the fraction of all, after which they stay as they are; null: the last"
    )
    own: Annotated[dict[str, EncoderSettings], Private.NO] = Field(
        default_factory=dict, description="by the encoder's name, as in {text_encoder_2: {lr: 1e-5}}"
    )

    def choose(self, part: str) -> EncoderSettings:
        """What the encoder of this name has."""
        own = self.own.get(part, EncoderSettings())
        given = {name: getattr(own, name) for name in EncoderSettings.model_fields}
        return EncoderSettings(**{name: getattr(self, name) if one is None else one for name, one in given.items()})

    def count_steps(self, total: int) -> int:
        """After how many steps of a training of so many they stay as they are."""
        if isinstance(self.stop, float):
            return max(1, round(self.stop * total))
        return total if self.stop is None else self.stop
