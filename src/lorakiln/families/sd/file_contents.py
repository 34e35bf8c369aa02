"""What a file of weights is, by its tensors' names and shapes and by what it says of itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lorakiln.console.errors import UserError
from lorakiln.families.kinds import format_suiting_settings, list_versions, recognise_file
from lorakiln.families.sd.model_checks import REFINER, describe_by_channels, make_other_family_error
from lorakiln.families.sd.versions import SD2, UNET, VAE
from lorakiln.families.versions import BaseVersion, Layout
from lorakiln.families.weights_file import WeightsFile

V = "v_prediction"
# A name, or the beginning of one, that only such files have; asked in this order.
SIGNS = {
    "a folder's parts joined in one file, which nothing reads": ("vae.quant_conv.", "vae.post_quant_conv."),
    "a LoRA, no base model": ("lora_", "unet.", "text_encoder.", "base_model.model."),
    "a ControlNet": ("control_model.", "controlnet_"),
    "a Flux model": ("double_blocks.", "model.diffusion_model.double_blocks."),
    "a Stable Diffusion 3 model": ("joint_blocks.", "model.diffusion_model.joint_blocks."),
    "a UNet alone, in diffusers' names": ("down_blocks.0.", "mid_block."),
    "a UNet alone, without the model's name before its tensors": ("input_blocks.",),
    "a VAE alone": ("first_stage_model.", "encoder.down.", "encoder.down_blocks."),
    "a text encoder alone": ("text_model.", "cond_stage_model.", "conditioner.embedders."),
    "a textual inversion": ("emb_params", "string_to_param", "clip_l", "clip_g"),
}


def identify_version(checkpoint: WeightsFile, known: Sequence[BaseVersion]) -> BaseVersion | str | None:
    """The first of the known versions that a file with such a UNet is of; or, in words, what else it is: "an
    inpainting model", "a LoRA, no base model", ...; None: nothing shows it.
    """
    names = checkpoint.tensors
    first = names.get(f"{UNET}input_blocks.0.0.weight")
    if first is None:
        return next((what for what, signs in SIGNS.items() if any(name.startswith(signs) for name in names)), None)
    # What the file's own VAE makes; without one, what the families' do.
    vae = names.get(f"{VAE}decoder.conv_in.weight")
    latent = vae.shape[1] if vae is not None and vae.dim() == 4 else 4
    if first.dim() == 4 and first.shape[1] != latent:
        return describe_by_channels(first.shape[1]) if latent == 4 else "another kind of model"
    for version in known:
        if all(has_prefix(names, prefix) for part, prefix in version.architecture.prefixes.items() if part != "vae"):
            return version
    # The refiner has OpenCLIP's encoder alone.
    return REFINER if has_prefix(names, "conditioner.embedders.0.model.") else "a UNet without its text encoder"


def check_file(checkpoint: WeightsFile, layout: Layout, own_vae: bool) -> BaseVersion:
    """The version of a whole base model of the family that the settings expect, the first of those that look alike.

    Args:
        own_vae: whether the file's VAE is wanted.

    Raises:
        UserError: it is something else; with what it is, and what to set.
    """
    found = recognise_file(checkpoint)
    if found == REFINER:
        raise make_other_family_error(REFINER, None, checkpoint.path, layout)
    if isinstance(found, str):
        fix = f"name a whole text-to-image {layout.title}"
        if found == "a VAE alone":
            fix += "; another VAE for it goes into model.vae"
        raise UserError(f"this is {found}", where=checkpoint.path, fix=fix)
    if found.layout != layout:
        settings = format_suiting_settings([one for one in list_versions() if one.name == found.name])
        raise make_other_family_error(f"a {found.title} checkpoint", settings, checkpoint.path, layout)
    if own_vae and not has_prefix(checkpoint.tensors, VAE):
        raise UserError("there is no VAE in it", where=checkpoint.path, fix="name one in model.vae")
    return found


def find_prediction(checkpoint: WeightsFile, version: BaseVersion, set_to: str | None, borrowed: str | None) -> str:
    """ "epsilon" or "v_prediction": as the settings, the file, the .yaml beside it, the lender or the family say.

    Files say it by modelspec.prediction_type or modelspec.architecture (Stability's ModelSpec), or by a tensor called
    v_pred; A1111 and ComfyUI read the same.

    Args:
        set_to: `model.prediction_type`.
        borrowed: what the scheduler of the folder in `model.config` says.

    Raises:
        UserError: the file or the lender says another thing than the settings; a Stable Diffusion 2.x that says
            nothing: both kinds exist, and their tensors look alike.
    """
    said = _said(checkpoint)
    if set_to and said and set_to != said:
        raise UserError(
            f"this file predicts {said}, the settings say {set_to}",
            where=checkpoint.path,
            fix=f"set model.prediction_type={said} (model=sd21 is epsilon, model=sd21_v is v_prediction), or null",
        )
    if set_to and not said and borrowed and set_to != borrowed:
        raise UserError(
            f"the scheduler in model.config predicts {borrowed}, the settings say {set_to}",
            where=checkpoint.path,
            fix=f"set model.prediction_type={borrowed}, or name a folder in model.config that suits this file",
        )
    found = set_to or said or borrowed
    if found:
        return found
    if version.name == SD2.name:
        fix = "use model=sd21 (512 pixels, epsilon) or model=sd21_v (768 pixels, v), or set model.prediction_type"
        raise UserError("a Stable Diffusion 2.x that does not say what it predicts", where=checkpoint.path, fix=fix)
    return "epsilon"


def _said(checkpoint: WeightsFile) -> str | None:
    said = checkpoint.metadata.get("modelspec.prediction_type", "").lower()
    if said:
        return V if said.startswith("v") else "epsilon"
    if "v_pred" in checkpoint.tensors or checkpoint.metadata.get("modelspec.architecture", "").endswith("768-v"):
        return V
    beside = _parameterization(checkpoint.path.with_suffix(".yaml"))
    return (V if beside == "v" else "epsilon") if beside else None


def find_zero_snr(checkpoint: WeightsFile) -> dict[str, Any]:
    """What a file that calls itself trained to zero terminal SNR (a tensor "ztsnr") wants of the noise schedule."""
    if "ztsnr" not in checkpoint.tensors:
        return {}
    return {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def _parameterization(file: Path) -> str:
    """What LDM's config beside a checkpoint says: "v", "eps"; empty if there is none that can be read."""
    if not file.is_file() or file.stat().st_size > 100_000:
        return ""
    try:
        node: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"not a readable config ({error})", where=file, fix="mend it or move it away") from error
    for key in ("model", "params"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return str(node.get("parameterization", "eps")) if isinstance(node, Mapping) else ""


def has_prefix(names: Mapping[str, object], prefix: str) -> bool:
    """Whether any name begins so."""
    return any(name.startswith(prefix) for name in names)
