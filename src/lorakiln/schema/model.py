"""`model`: the base model, with the captioner and the CLIP that suit it."""

import importlib
import pkgutil
from typing import Annotated, Any, Literal

from pydantic import Field

from lorakiln.schema.base import LARGEST_SIDE, OneOf, Settings
from lorakiln.schema.marks import Decides, Names, Private
from lorakiln.schema.registry import Registry


class Families(Registry[Any]):
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

    path: Annotated[str, Private.PATH, Names.model("", "revision")] = Field(
        min_length=1, description="a hub id or a local folder"
    )
    revision: Annotated[str | None, Private.NO] = Field(None, description="the hub's branch, tag or commit")


class ModelSettings(Settings, decides=Decides.BASE):
    family: Annotated[str, Private.NO, OneOf(lambda: FAMILIES.names)] = Field(
        description="the architecture: sd is Stable Diffusion 1.x and 2.x"
    )
    architecture: Annotated[Annotated[str, OneOf(FAMILIES.generations)] | None, Private.NO] = Field(
        None, description="which generation of the family's models is expected: sd1, sd2, ...; null: any"
    )
    path: Annotated[str, Private.PATH, Names.model("base model", "revision")] = Field(
        min_length=1, description="a hub id, a local folder in diffusers' layout, or a single file"
    )
    revision: Annotated[str | None, Private.NO] = None
    variant: Annotated[str | None, Private.NO] = Field(None, description="the hub's file variant, such as fp16")
    vae: Annotated[str | None, Private.PATH, Names.model("VAE")] = Field(
        None, description="another VAE: a hub id, a folder or a file; null: the model's own"
    )
    config: Annotated[str | None, Private.PATH, Names.model("model config")] = Field(
        None, description="for single files: a folder or hub id whose configs and tokenizers hold; null: the family's"
    )
    prediction_type: Literal["epsilon", "v_prediction"] | None = Field(
        None, description="what the network predicts, checked against what the model says; null: as the model says"
    )
    allow_pickle: Annotated[bool, Decides.NOTHING] = Field(
        False, description="read single files that are pickles (.ckpt, .pt); tensors alone"
    )
    # This and the buckets' sides are what `prepare` has where nobody says another.
    domain: Annotated[Literal["any", "drawings"], Decides.NOTHING] = Field(
        "any", description="what the base, its captioner and its CLIP know; drawings: photographs get a warning"
    )
    # What the report draws is keyed by the size that this and `evaluate` come to.
    resolution: Annotated[int, Decides.RECORD] = Field(
        gt=0, le=LARGEST_SIDE, description="the side of the square it was trained on, pixels"
    )
    bucket_min: Annotated[int, Decides.NOTHING] = Field(
        gt=0, le=LARGEST_SIDE, description="shortest side of a bucket, pixels"
    )
    bucket_max: Annotated[int, Decides.NOTHING] = Field(
        gt=0, le=LARGEST_SIDE, description="longest side of a bucket, pixels"
    )
    bucket_step: Annotated[int, Decides.NOTHING] = Field(
        gt=0, le=LARGEST_SIDE, description="picture sides are multiples of this, pixels"
    )
    captioner: Annotated[Source, Decides.WRITING, Names.model("captioner")]
    clip: Annotated[Source, Decides.REPORT, Names.model("CLIP")]
