"""The whole config: every namespace, checked together."""

from typing import Annotated, Any

from pydantic import model_validator

from lorakiln.schema.base import Settings, check
from lorakiln.schema.captioners import CAPTIONERS, CaptionSettings
from lorakiln.schema.choose import ChooseSettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.marks import Decides, Private
from lorakiln.schema.model import FAMILIES, ModelSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.secrets import check_no_secrets
from lorakiln.schema.train import TrainSettings


class Paths(Settings, decides=Decides.NOTHING):
    """Every folder, relative to the project's root."""

    raw: str
    resolved: str
    prepared: str
    captioned: str
    encoded: str
    run: str
    choice: str
    lora: str
    report: str
    runs: str
    cache: str


class Config(Settings):
    paths: Annotated[Paths, Private.PATH]
    model: ModelSettings
    prepare: PrepareSettings
    caption: Annotated[CaptionSettings, CAPTIONERS.chosen()]
    encode: EncodeSettings
    train: TrainSettings
    choose: ChooseSettings
    export: ExportSettings
    evaluate: EvaluateSettings

    @model_validator(mode="after")
    def _parts_are_the_bases(self) -> "Config":
        asked = self.train.parts
        if asked and (wrong := sorted(set(asked) - set(there := FAMILIES.find(self.model.family).layout.networks))):
            raise ValueError(
                f"train.parts: a base of {self.model.family} has no part {wrong[0]!r} that is trained here; "
                f"there are: {', '.join(there)}"
            )
        return self

    @model_validator(mode="after")
    def _strength_can_be_written(self) -> "Config":
        adapter, strength = self.train.adapter, self.export.strength
        if strength != 1 and not adapter.scalable:
            raise ValueError(
                f"export.strength: {strength:g} cannot be written: no file of {adapter.kind} holds less of its change; "
                "set export.strength=1, and the strength where it is drawn"
            )
        return self

    @model_validator(mode="after")
    def _crops_have_room(self) -> "Config":
        if self.encode.augment.crop != "centre" and self.prepare.margin is None:
            raise ValueError(
                f"encode.augment.crop: {self.encode.augment.crop} takes its crops from the uncropped picture, and "
                "prepare.margin is null: nothing but the crop is kept; set prepare.margin=0.25, or 0 for what a bucket "
                "leaves over alone"
            )
        if self.encode.augment.crop == "face" and self.prepare.face.detector is None:
            raise ValueError(
                "encode.augment.crop: face needs to know where the faces are, and prepare.face.detector is null; set "
                "it to an ONNX file (docs/augmentation.md), or encode.augment.crop=random"
            )
        return self


def check_whole(data: dict[str, Any]) -> Config:
    """Validate a composed config; see `base.check` and `secrets.check_no_secrets` for what is raised."""
    check_no_secrets(data)
    return check(Config, data)
