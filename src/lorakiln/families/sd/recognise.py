"""What a model in diffusers' layout is, by what it says of itself; and why a model is not what the settings expect."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.families.layouts import Layout
from lorakiln.families.sd.versions import ARCHITECTURES
from lorakiln.families.source import read_config

Configs = Mapping[str, Mapping[str, Any]]

KINDS = {9: "an inpainting model", 5: "a depth model", 7: "an upscaler", 8: "an instruction model (InstructPix2Pix)"}
MODELS = {"sd": "model=sd15, model=sd21 or model=sd21_v", "sdxl": "model=sdxl"}
REFINER = "SDXL's refiner"
VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base"}  # kohya's names begin so


def check_kind(root: Path, layout: Layout) -> None:
    """Refuse a folder of another family by what it holds and says it is; raises UserError."""
    found = kind_of(root)
    if found == layout.family:
        return
    names = {"sd": "a Stable Diffusion 1.x or 2.x", "sdxl": "a Stable Diffusion XL", "refiner": REFINER}
    raise other_family(names.get(found, found), MODELS.get(found), root, layout)


def other_family(found: str, models: str | None, where: Path, layout: Layout) -> UserError:
    """The error for a model that is not of the settings' family.

    Args:
        found: what it is, for people.
        models: the settings that suit it, if any do.
    """
    if found == REFINER:
        fix = "train on the base model, model=sdxl; the refiner takes no LoRA of it"
    elif models:
        fix = f"use {models} with model.path={where}"
    else:
        fix = f"name a {layout.title}, or set model.family to what this is"
    what = f"this is {found}, but model.family says {layout.family} ({layout.title})"
    return UserError(what, where=where, fix=fix)


def kind_of(root: Path) -> str:
    """sd, sdxl, refiner, or the class that the folder says it is (StableDiffusion3Pipeline, FluxPipeline, ...)."""
    index = read_config(root / "model_index.json") if (root / "model_index.json").exists() else {}
    if not (root / "unet").is_dir():
        return str(index.get("_class_name", "a model without a UNet"))[:60]
    if (root / "text_encoder_2").is_dir():
        return "sdxl" if (root / "text_encoder").is_dir() else "refiner"
    return "sd"


def kind_by_channels(channels: int) -> str:
    """What a UNet with so many input channels is, where the VAE makes 4."""
    return KINDS.get(channels, "another kind of model")


def check_network(root: Path, configs: Configs, layout: Layout) -> None:
    """Refuse UNets that take something else than the family's do (inpainting, depth, ...); raises UserError."""
    unet, latent = configs["unet"], configs["vae"].get("latent_channels", 4)
    channels, problem = unet.get("in_channels", 4), _texts_problem(configs, layout)
    added = unet.get("addition_embed_type")
    if channels != latent:
        kind = kind_by_channels(channels) if latent == 4 else "another kind of model"
        problem = f"its UNet takes {channels} channels where the VAE makes {latent}: {kind}"
    elif added != ("text_time" if layout.family == "sdxl" else None):
        wanted = f"wants {added} embeddings beside the text" if added else "wants nothing beside the text"
        known = ", as SDXL's does" if added == "text_time" else ""
        problem = f"its UNet {wanted}{known}"
    if problem:
        raise UserError(problem, where=root / "unet", fix=f"name a text-to-image {layout.title}")


def _texts_problem(configs: Configs, layout: Layout) -> str:
    read = configs["unet"].get("cross_attention_dim")
    written = sum(configs[part].get("hidden_size", 0) for part in layout.texts)
    if read == written:
        return ""
    plural = "s write" if len(layout.texts) > 1 else " writes"
    return f"its UNet reads texts of width {read}, its text encoder{plural} width {written}"


def version_of(unet: Mapping[str, Any], prediction: str) -> str:
    """kohya's ss_base_model_version."""
    if unet.get("addition_embed_type") == "text_time":
        return "sdxl_base_v1-0"
    version = "sd_v2" if unet.get("use_linear_projection") else "sd_v1"
    return version + ("_v" if prediction == "v_prediction" else "")


def check_version(version: str, expected: str | None, where: Path) -> None:
    """Refuse a model of the family that is not the one that the settings expect.

    Args:
        version: as `version_of` has it.
        expected: `model.architecture`: sd1, sd2, sdxl, or None for any.

    Raises:
        UserError: it is another; with what suits it.
    """
    found = ARCHITECTURES[next(kind for kind, name in VERSIONS.items() if version.startswith(name))]
    if expected and found is not ARCHITECTURES[expected]:
        what = f"this is a {found.title} model, but model.architecture says {ARCHITECTURES[expected].title}"
        raise UserError(what, where=where, fix=f"use {found.models} with model.path={where}")
