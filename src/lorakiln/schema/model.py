"""`model`: the base model, with the captioner and the CLIP that suit it."""

import importlib
import pkgutil
from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.base import LARGEST_SIDE, OneOf, Settings
from lorakiln.schema.registry import Registry


class Families(Registry):
    """Each is a folder of `lorakiln.families`, beside what they share; see `families.kinds.FamilyKind`."""

    def _listed(self) -> list[str]:
        folder = importlib.import_module(self.code).__path__
        return [module.name for module in pkgutil.iter_modules(folder) if module.ispkg]

    def generations(self) -> list[str]:
        """Of their models: sd1, sd2, ..."""
        return sorted({version.name for name in self.names for version in self.find(name).versions})


FAMILIES = Families("family", code="lorakiln.families")


class Source(Settings):
    """Where a pretrained model comes from."""

    path: str = Field(min_length=1, description="a hub id or a local folder")
    revision: str | None = Field(None, description="the hub's branch, tag or commit")


class ModelSettings(Settings):
    family: Annotated[str, OneOf(lambda: FAMILIES.names)] = Field(
        description="the architecture: sd is Stable Diffusion 1.x and 2.x"
    )
    architecture: Annotated[str, OneOf(FAMILIES.generations)] | None = Field(
        None, description="which generation of the family's models is expected: sd1, sd2, ...; null: any"
    )
    path: str = Field(min_length=1, description="a hub id, a local folder in diffusers' layout, or a single file")
    revision: str | None = None
    variant: str | None = Field(None, description="the hub's file variant, such as fp16")
    vae: str | None = Field(None, description="another VAE: a hub id, a folder or a file; null: the model's own")
    config: str | None = Field(
        None, description="for single files: a folder or hub id whose configs and tokenizers hold; null: the family's"
    )
    prediction_type: Literal["epsilon", "v_prediction"] | None = Field(
        None, description="what the network predicts, checked against what the model says; null: as the model says"
    )
    allow_pickle: bool = Field(False, description="read single files that are pickles (.ckpt, .pt); tensors alone")
    domain: Literal["any", "drawings"] = Field(
        "any", description="what the base, its captioner and its CLIP know; drawings: photographs get a warning"
    )
    resolution: int = Field(gt=0, le=LARGEST_SIDE, description="the side of the square it was trained on, pixels")
    bucket_min: int = Field(gt=0, le=LARGEST_SIDE, description="shortest side of a bucket, pixels")
    bucket_max: int = Field(gt=0, le=LARGEST_SIDE, description="longest side of a bucket, pixels")
    bucket_step: int = Field(gt=0, le=LARGEST_SIDE, description="picture sides are multiples of this, pixels")
    captioner: Source
    clip: Source
