"""One part of a single file (UNet, VAE, a text encoder) as the tensors that its class loads, and the other way."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lorakiln.console.errors import UserError
from lorakiln.families.architectures import UNET
from lorakiln.families.checkpoint import Checkpoint
from lorakiln.families.original_names import Origin, open_clip_origin, unet_origin, vae_origin

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAMED = 3  # tensors in a message
TEXT = "text_model."  # transformers 5 dropped this level from a class; files keep it


def part_tensors(checkpoint: Checkpoint, config: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The part's tensors under the names that folders in diffusers' layout have; views of the file's, but for
    OpenCLIP's projection.

    Args:
        config: the part's config.json.
        prefix: what its tensors' names in the file begin with.

    Raises:
        UserError: tensors are missing, too many, of another shape than the config says, or no plain numbers.
    """
    shapes = part_shapes(config)
    places = part_places(checkpoint, config, prefix)
    return {key: _fitted(checkpoint, *places[key], shape) for key, shape in shapes.items()}


def part_places(checkpoint: Checkpoint, config: Mapping[str, Any], prefix: str) -> dict[str, tuple[str, Origin]]:
    """Where each of the part's tensors is, by its name in folders: its name in the file, and which piece of it.

    Raises:
        UserError: tensors are missing or too many.
    """
    shapes = part_shapes(config)
    # A VAE that is alone in its file may have diffusers' names.
    ours = any(name.startswith(f"{prefix}encoder.down_blocks.") for name in checkpoint.tensors)
    origin = Origin if ours else origin_of(config, shapes, prefix)
    sources = {key: origin(key) for key in shapes}
    names = {key: _name(checkpoint, prefix, source.name) for key, source in sources.items()}
    missing = [prefix + sources[key].name for key, name in names.items() if name is None]
    found = {key: (name, sources[key]) for key, name in names.items() if name is not None}
    _check_whole(checkpoint, config, prefix, missing, {name for name, _ in found.values()})
    return found


def original_tensors(weights: Mapping[str, Tensor], config: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The reverse: a folder's tensors under the names of single files, prefix included.

    Copies are made only of what stands joined or turned there (OpenCLIP's attention).

    Raises:
        KeyError: the part lacks a tensor, which is then the argument.
    """
    shapes = part_shapes(config)
    origin = origin_of(config, shapes, prefix)
    pieces: dict[str, dict[int, Tensor]] = {}
    for key in shapes:
        source, value = origin(key), weights[key]
        pieces.setdefault(prefix + source.name, {})[source.third or 0] = value.T if source.transposed else value
    return {name: _joined(name, [thirds[at] for at in sorted(thirds)]) for name, thirds in pieces.items()}


def _joined(name: str, pieces: list[Tensor]) -> Tensor:
    value = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    # The VAE's attention is a 1x1 convolution in LDM.
    return value[..., None, None] if ".mid.attn_1." in name and value.dim() == 2 else value


def part_shapes(config: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Every tensor of a part's class by its name in files, without making one."""
    with torch.device("meta"):
        module = empty(config)
    return {file_name(name, config): value.shape for name, value in module.state_dict().items()}


def file_name(name: str, config: Mapping[str, Any]) -> str:
    """The name in files of a tensor of a part's class."""
    kept = "architectures" not in config or name.startswith((TEXT, "text_projection."))
    return name if kept else TEXT + name


def empty(config: Mapping[str, Any]) -> nn.Module:
    """The part's class by its config, made on torch's default device.

    Raises:
        UserError: the config names another class than the families' parts have.
    """
    import transformers
    from diffusers import AutoencoderKL, UNet2DConditionModel

    name = class_of(config)
    for kind in (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection):
        if kind.__name__ == name:
            return kind(transformers.CLIPTextConfig(**{k: v for k, v in config.items() if k != "architectures"}))
    for kind in (AutoencoderKL, UNet2DConditionModel):
        if kind.__name__ == name:
            return kind.from_config(dict(config))
    raise UserError(
        f"a config names the class {name!r}, which no part here has", fix="name a Stable Diffusion's folder"
    )


def class_of(config: Mapping[str, Any]) -> str:
    """The name of the class that a config.json is of; empty if it does not say."""
    listed = config.get("architectures") or [config.get("_class_name", "")]
    return str(listed[0])


def origin_of(config: Mapping[str, Any], shapes: Mapping[str, torch.Size], prefix: str) -> Callable[[str], Origin]:
    """Where each tensor of the part stands in single files, by its name in folders.

    Args:
        shapes: see `part_shapes`.
    """
    if "architectures" in config:
        return open_clip_origin if prefix.endswith(".model.") else Origin
    if class_of(config) == "AutoencoderKL":
        return partial(vae_origin, levels=len(config["block_out_channels"]))
    attention = {int(key.split(".")[1]) for key in shapes if key.startswith("up_blocks.") and ".attentions." in key}
    return partial(unet_origin, layers=config.get("layers_per_block", 2), attention=attention)


def _name(checkpoint: Checkpoint, prefix: str, name: str) -> str | None:
    """Old files leave out the level "text_model"."""
    names = (prefix + name, prefix + name.removeprefix(TEXT))
    return next((one for one in names if one in checkpoint.tensors), None)


def _fitted(checkpoint: Checkpoint, name: str, origin: Origin, shape: torch.Size) -> Tensor:
    value = checkpoint.tensors[name]
    if value.dtype not in NUMBERS:
        what = f"{name} is stored as {str(value.dtype).removeprefix('torch.')}: a file made for drawing alone"
        raise UserError(what, where=checkpoint.path, fix="take the model in fp16, bf16 or fp32")
    if origin.third is not None and value.shape[0] % 3 == 0:
        value = value.chunk(3)[origin.third]
    # In memory as the folder's, for the sums' order depends on that.
    value = value.T.contiguous() if origin.transposed else value
    # A linear layer and a 1x1 convolution hold the same numbers; the VAE's attention was once the latter.
    if value.shape != shape and _sides(value.shape) == _sides(shape):
        value = value.reshape(shape)
    if value.shape != shape:
        what = f"{name} has the shape {tuple(value.shape)}, by the config it has {tuple(shape)}"
        fix = "this model has other sizes than its family's: name a folder with its configs in model.config"
        raise UserError(what, where=checkpoint.path, fix=fix)
    return value


def _sides(shape: torch.Size) -> list[int]:
    return [side for side in shape if side != 1]


def _check_whole(
    checkpoint: Checkpoint, config: Mapping[str, Any], prefix: str, missing: list[str], used: set[str]
) -> None:
    kind = class_of(config)
    if missing:
        what = f"it lacks {len(missing)} tensors of its {kind}: {', '.join(missing[:NAMED])}"
        fix = "download it again, or name a folder with its own configs in model.config"
        raise UserError(what, where=checkpoint.path, fix=fix)
    more = [name for name in checkpoint.tensors if name.startswith(prefix) and name not in used]
    if prefix == UNET and more:
        what = f"its {kind} has {len(more)} tensors more than its family's: {', '.join(more[:NAMED])}"
        raise UserError(what, where=checkpoint.path, fix="name a folder with its own configs in model.config")
