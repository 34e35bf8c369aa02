"""Any LoRA file: find out whose form it is in, and read it into an Adapter with canonical module names.

Forms, by their keys:
    kohya        lora_unet_<path>.lora_down.weight, .lora_up.weight, .alpha   (sd-scripts; LyCORIS)
    diffusers    unet.<path>.lora_A.weight, .lora_B.weight   (or .lora.down.weight, .lora.up.weight)
    diffusers-old  [unet.]<path>.processor.to_q_lora.down.weight, ..._lora.up.weight   (attention processors, 2023)
    peft         base_model.model.<path>.lora_A.weight, with adapter_config.json beside it
    cloneofsimo  unet:0:up, unet:0:down, text_encoder:0:up, ...; see numbered_form.py
What a layer's tensors are called and do, its kind knows (`lorakiln.adapters`). Kinds whose changes depend on the base's
weights become LoRAs where these are given. Refused by name: what a kind refuses (unreadable_kinds.py), and what
belongs to other architectures (foreign_architectures.py).
"""

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lorakiln.adapters.adapter import Adapter, Change, Layer, Relative
from lorakiln.adapters.lycoris_to_lora import make_from_difference
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.console.progress import show_progress
from lorakiln.console.terminal_text import escape_text
from lorakiln.families.layer_names import known
from lorakiln.families.versions import BaseVersion
from lorakiln.lora_files import numbered_form
from lorakiln.lora_files.base_model import find_generation, guess_base_by_names
from lorakiln.lora_files.biases_and_norms import check_no_biases_or_norms, split_biases_and_norms
from lorakiln.lora_files.embeddings import holds_words_alone, split_embeddings
from lorakiln.lora_files.file_layers import KOHYA, PEFT, FileLayer, find_layers, has_dotted
from lorakiln.lora_files.foreign_architectures import check_architecture
from lorakiln.lora_files.unreadable_kinds import check_readable
from lorakiln.schema.adapters import ADAPTERS

# Weight changes of full rank as LoRAs may be far larger than the file: beyond so many bytes, only cut down.
LARGEST = 4 * 2**30
Shrink = Callable[[str, Layer], Layer]


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file that was read.

    Attributes:
        form: its form by name.
        adapter: what it holds.
        kinds: the kind of each layer that was another one than LoRA in the file, by its module.
        left_out: the keys of what it changes beside weights, biases and norms, if it was read without.
        full_rank: what those kinds are called whose changes are of the weights' own rank.
        trainable: the kind of all layers, as settings name it, if training goes on from it alone, and no LoRA's does.
    """

    form: str
    adapter: Adapter
    kinds: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    full_rank: frozenset[str] = frozenset()
    trainable: str | None = None


def read_lora(
    path: Path,
    shrink: Shrink | None = None,
    weight: Callable[[str], Tensor] | None = None,
    weights_only: bool = False,
    part: str | None = None,
) -> LoraFile:
    """Read a LoRA file of any known form, all of it as LoRAs; a folder stands for the one weights file in it.

    Args:
        shrink: applied, with the module, to every layer as soon as it is read: a change of full rank need never be
            in memory with the others.
        weight: the base model's weight of a module, for layers that depend on it; without it they are refused.
        weights_only: leave out what it changes of biases and norms; else it is refused.
        part: of the layers that depend on the base, only those of this part of the model are wanted.

    Raises:
        UserError: it is missing, damaged, no LoRA, or of a kind that no LoRA can stand for; or other kinds' layers
            are too large without `shrink`; or layers depend on a base model that is not given, or is another one.
    """
    found = read_any(path, shrink, weights_only)
    if not found.adapter.relative:
        return found
    if weight is None:
        raise UserError(
            f"it takes the base model's weights to know what its {_of_kinds(found)} layers make of them",
            where=path,
            fix=f"make a LoRA of it: `{_command(path, True, bool(found.left_out))}`, with --rank 32 to cut it down",
        )
    layers = dict(found.adapter.layers)
    size = sum(_bytes(layers[module]) for module in found.kinds if module in layers)
    wanted = {name: one for name, one in found.adapter.relative.items() if not part or name.startswith(f"{part}.")}
    with show_progress("layers on the base", len(wanted), "layers") as bar:
        for module, relative in wanted.items():
            layer = make_from_difference(relative.change_of(weight(module)))
            layers[module] = shrink(module, layer) if shrink else layer
            size += _bytes(layers[module])
            _check_size(size, relative.kind, path, base=True)
            bar.advance()
    return replace(found, adapter=replace(found.adapter, layers=layers, relative={}))


def read_any(path: Path, shrink: Shrink | None = None, weights_only: bool = False) -> LoraFile:
    """Read a LoRA file, and leave the layers that depend on a base model as they are, in `Adapter.relative`.

    Raises:
        UserError: as `read_lora` does, but for what concerns the base.
    """
    return _read(path, shrink, weights_only, as_loras=True)


def read_as_stored(path: Path) -> LoraFile:
    """Read a LoRA file, and leave every layer what its kind has made of it, all of them in `Adapter.layers`.

    Raises:
        UserError: as `read_any` does.
    """
    return _read(path, None, False, as_loras=False)


def _read(path: Path, shrink: Shrink | None, weights_only: bool, as_loras: bool) -> LoraFile:
    path = find_weights_file(path)
    tensors, metadata = load_tensors(path)
    if holds_words_alone(tensors):
        fix = (
            f"draw with it: lorakiln generate PROMPT --embedding {shlex.quote(str(path))}; inspect and convert take it"
        )
        raise UserError("this is a textual inversion, not a LoRA: it holds words' embeddings", where=path, fix=fix)
    tensors, embeddings = split_embeddings(tensors, path)
    form = find_form(tensors, path)
    tensors, left_out = split_biases_and_norms(tensors)
    if not weights_only:
        check_no_biases_or_norms(left_out, _command(path), path)
    layers: dict[str, Any] = {}
    relative: dict[str, Change] = {}
    kinds: dict[str, str] = {}
    size = 0
    chosen = _by_module(find_layers(form, tensors, metadata, path), tensors, path)
    # Cutting down what has full rank takes seconds a layer.
    for module, found in _counted(chosen) if shrink else chosen.items():
        layer = found.read()
        low = layer.low_rank() if as_loras else layer
        if low is None:
            relative[module], kinds[module] = layer, layer.kind
            continue
        # Only what is to become LoRAs is cut down.
        layers[module] = shrink(module, low) if shrink and isinstance(low, Layer) else low
        if Layer.kind != found.kind.TITLE:
            kinds[module] = found.kind.TITLE if isinstance(layer, Layer) else layer.kind
            size += _bytes(layers[module])
            _check_size(size, kinds[module], path)
    full_rank = frozenset(found.kind.TITLE for found in chosen.values() if found.kind.FULL_RANK)
    adapter = Adapter(layers, metadata, guess_base_by_names(tensors), relative, embeddings)
    if as_loras and (base := find_generation(adapter)) and _has_pointwise(base):
        pointwise = {name: _pointwise(name, layers[name]) for name in kinds if name in layers}
        adapter = replace(adapter, layers=layers | pointwise)
    _warn_of_alphas(adapter, path)
    # A layer that its kind has made a closure of is one in another program's form.
    foreign = any(isinstance(layer, Relative) for layer in relative.values())
    trainable = next((name for name in ADAPTERS.names if not foreign and _all_of(name, chosen.values())), None)
    return LoraFile(form, adapter, kinds, left_out, full_rank, trainable)


def _all_of(kind: str, layers: Iterable[FileLayer]) -> bool:
    own = ADAPTERS.find(kind)
    return Layer.kind != own.TITLE and all(found.kind is own for found in layers)


def _warn_of_alphas(adapter: Adapter, path: Path) -> None:
    """Say what is legal, does what it says, and is hardly meant."""
    for does, odd in (
        ("have alpha 0 and change nothing", [layer for layer in adapter.layers.values() if layer.alpha == 0]),
        (
            "have a negative alpha and act backwards",
            [layer for layer in adapter.layers.values() if (layer.alpha or 0) < 0],
        ),
    ):
        if odd:
            count = f"{len(odd)} of its {len(adapter.layers)} layers"
            print(f"warning: {escape_text(str(path))}: {count} {does}", file=sys.stderr, flush=True)


def _counted(chosen: Mapping[str, FileLayer]) -> Iterator[tuple[str, FileLayer]]:
    """The layers, each counted on the screen when it is done."""
    with show_progress("layers", len(chosen), "layers") as bar:
        for item in chosen.items():
            yield item
            bar.advance()


def _by_module(layers: Iterable[FileLayer], tensors: Mapping[str, Tensor], path: Path) -> dict[str, FileLayer]:
    """A file's layers, all of Stable Diffusion's and each under one name, to which all of its tensors belong."""
    chosen: dict[str, FileLayer] = {}
    strange: list[str] = []
    used: set[str] = set()
    for found in layers:
        used.update(found.keys)
        module = found.module
        if module is None or not known(module):
            strange.append(found.name)
            continue
        if module in chosen:
            names = f"{chosen[module].keys[0]} and {found.keys[0]}"
            fix = "leave out one of the two; what they do together `lorakiln merge` can make of two files"
            raise UserError(f"one layer stands under two names, {names}", where=path, fix=fix)
        chosen[module] = found
    check_architecture(strange, path)
    if odd := sorted(set(tensors) - used):
        raise UserError(
            f"{len(odd)} of its {len(tensors)} tensors belong to no layer of a LoRA: {', '.join(odd[:3])}",
            where=path,
            fix="the file is damaged, or of a form that is not known: get it again from where it was made",
        )
    if not chosen:
        raise UserError("it holds no layer of a LoRA", where=path, fix="use it in the program that made it")
    return chosen


def _of_kinds(found: LoraFile) -> str:
    """Of what kinds the layers are that depend on the base, in words."""
    *kinds, last = sorted({layer.kind for layer in found.adapter.relative.values()})
    return f"{', '.join(kinds)} and {last}" if kinds else last


def _has_pointwise(base: BaseVersion) -> bool:
    """Whether its projections around a transformer are convolutions."""
    network = base.architecture.parts.get(base.layout.network)
    return network is not None and not network.get("use_linear_projection")


def _pointwise(module: str, layer: Layer) -> Layer:
    """Stable Diffusion 1's projections around a transformer are 1x1 convolutions; LyCORIS stores factors flat."""
    if not module.endswith((".proj_in", ".proj_out")) or layer.down.ndim == 4:
        return layer
    return replace(layer, down=layer.down[..., None, None], up=layer.up[..., None, None])


def _bytes(layer: Change) -> int:
    return layer.parameters * layer.dtype.itemsize


def _check_size(size: int, kind: str, path: Path, base: bool = False) -> None:
    if size > LARGEST:
        what = f"its {kind} layers are of so high a rank that as LoRAs they take more than {LARGEST / 2**30:g} GiB"
        raise UserError(what, where=path, fix=f"cut them down: `{_command(path, base)} --rank 32`")


def _command(path: Path, base: bool = False, weights_only: bool = False) -> str:
    options = (" --base BASE" if base else "") + (" --weights-only" if weights_only else "")
    return f"lorakiln convert {shlex.quote(str(path))} lora.safetensors{options}"


def find_form(tensors: Mapping[str, Tensor], path: Path) -> str:
    """The form of a file by its keys.

    Raises:
        UserError: it is no LoRA, or another kind of adapter, which is named.
    """
    check_readable(tensors, path)
    if numbered_form.is_numbered(tensors):
        return "cloneofsimo"
    if any(key.startswith(KOHYA) for key in tensors):
        return "kohya"
    if any(key.startswith(PEFT) for key in tensors):
        return "peft"
    if any("_lora.down" in key or "_lora.up" in key for key in tensors):
        return "diffusers-old"
    if has_dotted(tensors):
        return "diffusers"
    some = ", ".join(sorted(tensors)[:3]) or "no tensors"
    fix = "name a LoRA's file; a base model is named in the config, model.path, or with --base"
    raise UserError(f"no LoRA file: it holds {some}", where=path, fix=fix)


def find_weights_file(path: Path) -> Path:
    """The file itself, or the one weights file of a folder.

    Raises:
        UserError: it is a pickle, or the folder holds no weights file, or several.
    """
    if not path.is_dir():
        if path.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin"):
            fix = "get the .safetensors version of it"
            raise UserError("a pickle, which can run code when it is read", where=path, fix=fix)
        return path
    found = sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        fix = "name the file itself"
        raise UserError(f"the folder holds {len(found)} .safetensors files", where=path, fix=fix)
    return found[0]
