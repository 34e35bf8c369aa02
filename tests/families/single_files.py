"""Single files of random models with their family's true topology, and the same models as folders."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from lorakiln.families.sdxl.versions import LAYOUT as SDXL
from lorakiln.schema.model import ModelSettings
from lorakiln.tools.convert_base import convert_base
from tests.families.reduced import write_reduced

KINDS = ("sd15", "sd21_v", "sdxl")


def write_pair(folder: Path, kind: str) -> tuple[ModelSettings, ModelSettings]:
    """Settings of a reduced model's folder, and of our single file of it."""
    model = write_reduced(folder / "folder", kind)
    convert_base(model, folder / "single.safetensors")
    settings = ModelSettings(
        family="sdxl" if kind == "sdxl" else "sd",
        path=str(model),
        resolution=32,
        bucket_min=16,
        bucket_max=64,
        bucket_step=16,
        captioner={"path": "models/tiny/blip"},
        clip={"path": "models/tiny/clip"},
    )
    return settings, single_of(settings, folder / "single.safetensors")


def single_of(settings: ModelSettings, file: Path, **changes) -> ModelSettings:
    """A reduced model's sizes are not its family's: its folder lends the configs, and the tokenizer."""
    return settings.model_copy(update={"path": str(file), "config": settings.path, **changes})


def weights_of(folder: Path) -> dict[str, Tensor]:
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    if not folder.name.startswith("text_encoder"):
        return weights
    kept = ("text_model.", "text_projection.")
    return {name if name.startswith(kept) else f"text_model.{name}": value for name, value in weights.items()}


def equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def parts_of(settings: ModelSettings) -> tuple[str, ...]:
    return SDXL.weights if settings.family == "sdxl" else SDXL.weights[:2] + ("unet",)
