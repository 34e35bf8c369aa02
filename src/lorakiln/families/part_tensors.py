"""One part of a model (network, VAE, text encoder) as the tensors that its class loads, and as single files have it."""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lorakiln.console.errors import UserError
from lorakiln.families.kinds import find_family_by_network, list_adapted_parts
from lorakiln.families.shapes import is_same_matrix
from lorakiln.families.shared_original_names import Origin, find_open_clip_origin, find_vae_origin
from lorakiln.families.weight_checks import describe_broken, is_finite
from lorakiln.families.weights_file import WeightsFile

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAMED = 3  # tensors in a message
APART = "its weights and its config.json do not belong together, or a file is missing: download it again"
VAE_CLASS = ("diffusers", "AutoencoderKL")  # of all families
TEXT = "text_model."  # transformers 5 dropped this level from a class; files keep it


# What transformers' and diffusers' classes no longer call the VAE's attention; folders of Stable Diffusion 1.x do.
OLD_VAE = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def to_part_tensors(
    checkpoint: WeightsFile,
    config: Mapping[str, Any],
    prefix: str,
    dtype: torch.dtype | None = None,
    module: nn.Module | None = None,
) -> dict[str, Tensor]:
    """The part's tensors under the names that folders in diffusers' layout have.

    What has the dtype already is a view of the file's mapped tensor, but for OpenCLIP's projection; what has not is
    read and converted one by one, so that the two are never in memory together for more than a tensor.

    Args:
        config: the part's config.json.
        prefix: what its tensors' names begin with: nothing in folders.
        dtype: of all tensors, which are then looked at for numbers that are not finite; None: as they are.
        module: the part as `make_empty_part` makes it, where the caller has one already.

    Raises:
        UserError: tensors are missing, too many, of another shape than the config says, or no plain numbers; with a
            dtype also NaN or infinite.
    """
    shapes = compute_part_shapes(config, module)
    places = _places(checkpoint, config, prefix, shapes)
    tensors: dict[str, Tensor] = {}
    broken = []
    for key, shape in shapes.items():
        tensors[key] = _fitted(checkpoint, *places[key], shape, dtype)
        # Here and not over the whole network afterwards, which would go through all of it once more.
        if dtype is not None and not is_finite(tensors[key]):
            broken.append(key)
    if broken:
        raise describe_broken(broken, checkpoint.path)
    return tensors


def locate_part_tensors(
    checkpoint: WeightsFile, config: Mapping[str, Any], prefix: str
) -> dict[str, tuple[str, Origin]]:
    """Where each of the part's tensors is, by its name in folders: its name in the file, and which piece of it.

    Raises:
        UserError: tensors are missing or too many.
    """
    return _places(checkpoint, config, prefix, compute_part_shapes(config))


def _places(
    checkpoint: WeightsFile, config: Mapping[str, Any], prefix: str, shapes: Mapping[str, torch.Size]
) -> dict[str, tuple[str, Origin]]:
    # Folders have diffusers' names, and a VAE that is alone in its file may have them.
    own = (f"{prefix}down_blocks.", f"{prefix}encoder.down_blocks.")
    ours = any(name.startswith(own) for name in checkpoint.tensors)
    origin = Origin if ours else find_origin(config, shapes, prefix)
    sources = {key: origin(key) for key in shapes}
    names = {key: _name(checkpoint, prefix, source.name) for key, source in sources.items()}
    missing = [prefix + sources[key].name for key, name in names.items() if name is None]
    found = {key: (name, sources[key]) for key, name in names.items() if name is not None}
    _check_whole(checkpoint, config, prefix, missing, {name for name, _ in found.values()})
    return found


def to_original_tensors(weights: Mapping[str, Tensor], config: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The reverse: a folder's tensors under the names of single files, prefix included.

    Copies are made only of what stands joined or turned there (OpenCLIP's attention).

    Raises:
        KeyError: the part lacks a tensor, which is then the argument.
    """
    shapes = compute_part_shapes(config)
    origin = find_origin(config, shapes, prefix)
    pieces: dict[str, dict[int, Tensor]] = {}
    for key in shapes:
        source, value = origin(key), weights[key]
        pieces.setdefault(prefix + source.name, {})[source.third or 0] = value.T if source.transposed else value
    return {name: _joined(name, [thirds[at] for at in sorted(thirds)]) for name, thirds in pieces.items()}


def _joined(name: str, pieces: list[Tensor]) -> Tensor:
    value = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    # The VAE's attention is a 1x1 convolution in LDM.
    return value[..., None, None] if ".mid.attn_1." in name and value.dim() == 2 else value


def compute_part_shapes(config: Mapping[str, Any], module: nn.Module | None = None) -> dict[str, torch.Size]:
    """Every tensor of a part's class by its name in files, without making one.

    Args:
        module: see `to_part_tensors`.
    """
    if module is None:
        with torch.device("meta"):
            module = make_empty_part(config)
    return {to_file_name(name, config): value.shape for name, value in module.state_dict().items()}


def to_file_name(name: str, config: Mapping[str, Any]) -> str:
    """The name in files of a tensor of a part's class."""
    kept = "architectures" not in config or name.startswith((TEXT, "text_projection."))
    return name if kept else TEXT + name


def make_empty_part(config: Mapping[str, Any]) -> nn.Module:
    """The part's class by its config, made on torch's default device.

    Raises:
        UserError: the config names another class than the families' parts have.
    """
    name = read_class(config)
    library = next((where for where, known in (VAE_CLASS, *list_adapted_parts().values()) if known == name), None)
    if library is not None:
        kind = getattr(importlib.import_module(library), name)
        if library == "transformers":
            told = {key: value for key, value in config.items() if key != "architectures"}
            module: nn.Module = kind(kind.config_class(**told))
        else:
            module = kind.from_config(dict(config))
        return module
    raise UserError(
        f"a config names the class {name!r}, which no part here has", fix="name a Stable Diffusion's folder"
    )


def read_class(config: Mapping[str, Any]) -> str:
    """The name of the class that a config.json is of; empty if it does not say."""
    listed = config.get("architectures")
    return str(listed[0] if isinstance(listed, list) and listed else config.get("_class_name", ""))


def find_origin(config: Mapping[str, Any], shapes: Mapping[str, torch.Size], prefix: str) -> Callable[[str], Origin]:
    """Where each tensor of the part stands in single files, by its name in folders.

    Args:
        shapes: see `compute_part_shapes`.
    """
    if "architectures" in config:
        return find_open_clip_origin if prefix.endswith(".model.") else Origin
    if network := find_family_by_network(read_class(config)):
        return network.network_origin(config, shapes)
    return partial(find_vae_origin, levels=len(config["block_out_channels"]))


def _name(checkpoint: WeightsFile, prefix: str, name: str) -> str | None:
    """Some files leave out the level "text_model", old ones have other names for the VAE's attention."""
    names = [name, name.removeprefix(TEXT)]
    names += [name.replace(new, old) for new, old in OLD_VAE.items() if f".attentions.0{new}" in name]
    return next((prefix + one for one in names if prefix + one in checkpoint.tensors), None)


def _fitted(checkpoint: WeightsFile, name: str, origin: Origin, shape: torch.Size, dtype: torch.dtype | None) -> Tensor:
    value = checkpoint.tensors[name]
    if value.dtype not in NUMBERS:
        what = f"{name} is stored as {str(value.dtype).removeprefix('torch.')}: a file made for drawing alone"
        raise UserError(what, where=checkpoint.path, fix="take the model in fp16, bf16 or fp32")
    value = value if dtype in (None, value.dtype) else checkpoint.read(name, dtype)
    if origin.third is not None and value.shape[0] % 3 == 0:
        value = value.chunk(3)[origin.third]
    # In memory as the folder's, for the sums' order depends on that.
    value = value.T.contiguous() if origin.transposed else value
    # The VAE's attention was once a 1x1 convolution.
    if value.shape != shape and is_same_matrix(value.shape, shape):
        value = value.reshape(shape)
    if value.shape != shape:
        what = f"{name} has the shape {tuple(value.shape)}, by the config it has {tuple(shape)}"
        fix = "this model has other sizes than its family's: name a folder with its configs in model.config"
        raise UserError(what, where=checkpoint.path, fix=APART if checkpoint.path.is_dir() else fix)
    return value


def _check_whole(
    checkpoint: WeightsFile, config: Mapping[str, Any], prefix: str, missing: list[str], used: set[str]
) -> None:
    kind = read_class(config)
    if missing:
        what = f"it lacks {len(missing)} tensors of its {kind}: {', '.join(missing[:NAMED])}"
        fix = "download it again, or name a folder with its own configs in model.config"
        raise UserError(what, where=checkpoint.path, fix=APART if checkpoint.path.is_dir() else fix)
    more = [name for name in checkpoint.tensors if name.startswith(prefix) and name not in used]
    # Other parts come with what is not used: numbers of positions, the picture's half of CLIP.
    if find_family_by_network(kind) and more:
        whose, fix = "its family's", "name a folder with its own configs in model.config"
        if checkpoint.path.is_dir():
            whose, fix = "its config says", APART
        what = f"its {kind} has {len(more)} tensors more than {whose}: {', '.join(more[:NAMED])}"
        raise UserError(what, where=checkpoint.path, fix=fix)
