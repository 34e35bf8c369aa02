"""What a model in diffusers' layout is, by what it says of itself; and why a model is not what the settings expect."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.families.kinds import format_suiting_settings, list_versions, recognise_folder
from lorakiln.families.model_source import read_config
from lorakiln.families.versions import BaseVersion, Layout

Configs = Mapping[str, Mapping[str, Any]]

KINDS = {9: "an inpainting model", 5: "a depth model", 7: "an upscaler", 8: "an instruction model (InstructPix2Pix)"}
REFINER = "SDXL's refiner"
OURS = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")  # classes of which every model has a UNet


def check_kind(root: Path, layout: Layout) -> None:
    """Refuse a folder of another family by what it holds and says it is; raises UserError."""
    found = recognise_folder(root)
    if isinstance(found, str):
        raise make_other_family_error(found, None, root, layout)
    if found.layout != layout:
        raise make_other_family_error(f"a {found.layout.title}", format_suiting_settings(found.versions), root, layout)


def make_other_family_error(found: str, models: str | None, where: Path, layout: Layout) -> UserError:
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


def check_layout(root: Path, layout: Layout, others: Sequence[str] = ()) -> bool | str:
    """Whether a folder has the layout's UNet and as many text encoders; or, in words, what else it is: SDXL's refiner,
    or the class that it says it is (StableDiffusion3Pipeline, FluxPipeline, ...).

    Args:
        others: text encoders that it has not.
    """
    index = read_config(root / "model_index.json") if (root / "model_index.json").exists() else {}
    if not (root / layout.network).is_dir():
        said = str(index.get("_class_name", "a model without a UNet"))[:60]
        return f"a {said} without its folder {layout.network}" if said in OURS else said
    if (root / "text_encoder_2").is_dir() and not (root / "text_encoder").is_dir():
        return REFINER
    # A first text encoder that is missing is told where it is read.
    more = all((root / text).is_dir() for text in layout.texts[1:])
    return more and not any((root / text).is_dir() for text in others)


def describe_by_channels(channels: int) -> str:
    """What a UNet with so many input channels is, where the VAE makes 4."""
    return KINDS.get(channels, "another kind of model")


def check_network(root: Path, configs: Configs, layout: Layout, beside: str | None) -> None:
    """Refuse UNets that take something else than the family's do (inpainting, depth, ...).

    Args:
        beside: the kind of embeddings beside the text's that they take, `addition_embed_type` of their config.

    Raises:
        UserError: it is another.
    """
    unet, latent = configs["unet"], configs["vae"].get("latent_channels", 4)
    channels, problem = unet.get("in_channels", 4), _texts_problem(configs, layout)
    added = unet.get("addition_embed_type")
    if channels != latent:
        kind = describe_by_channels(channels) if latent == 4 else "another kind of model"
        problem = f"its UNet takes {channels} channels where the VAE makes {latent}: {kind}"
    elif added != beside:
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


def check_version(found: BaseVersion, expected: str | None, where: Path) -> None:
    """Refuse a model of the family that is not the one that the settings expect.

    Args:
        expected: `model.architecture`, or None for any.

    Raises:
        UserError: it is another; with what suits it.
    """
    if expected and found.name != expected:
        wanted = next(one.title for one in list_versions() if one.name == expected)
        suits = format_suiting_settings([one for one in list_versions() if one.name == found.name])
        what = f"this is a {found.title} model, but model.architecture says {wanted}"
        raise UserError(what, where=where, fix=f"use {suits} with model.path={where}")
