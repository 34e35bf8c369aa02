"""Any LoRA file: find out whose form it is in, and read it into an Adapter with canonical module names.

Forms, by their keys:
    kohya        lora_unet_<path>.lora_down.weight, .lora_up.weight, .alpha   (sd-scripts; LyCORIS, see lycoris.py)
    diffusers    unet.<path>.lora_A.weight, .lora_B.weight   (or .lora.down.weight, .lora.up.weight)
    diffusers-old  [unet.]<path>.processor.to_q_lora.down.weight, ..._lora.up.weight   (attention processors, 2023)
    peft         base_model.model.<path>.lora_A.weight, with adapter_config.json beside it
    cloneofsimo  unet:0:up, unet:0:down, text_encoder:0:up, ...; see numbered.py
Recognised and refused by name: what is in others.py, and what belongs to other architectures (strangers.py).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from lorakiln.artefacts.tensors import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.names import canonical, known, module_of
from lorakiln.lora_files import diffusers_form, lycoris, numbered
from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.lora_files.alphas import alpha_of, read_config
from lorakiln.lora_files.base import base_of_names, base_version
from lorakiln.lora_files.checks import layer_of
from lorakiln.lora_files.diffusers_form import PEFT_CLASSES
from lorakiln.lora_files.others import check_kinds
from lorakiln.lora_files.strangers import check_familiar

# Weight changes of full rank as LoRAs may be far larger than the file: beyond so many bytes, only cut down.
LARGEST = 4 * 2**30
_DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_linear_layer.down.weight", ".lora_down.weight", ".down.weight")
_UP = {
    ".lora_A.weight": ".lora_B.weight",
    ".lora.down.weight": ".lora.up.weight",
    ".lora_linear_layer.down.weight": ".lora_linear_layer.up.weight",
    ".lora_down.weight": ".lora_up.weight",
    ".down.weight": ".up.weight",
}
_PROCESSOR = re.compile(r"(?:\.processor)?\.to_(q|k|v|out)_lora$")
_PEFT = "base_model.model."
PART = "part"  # of a config read from a peft folder: the one part that it is for


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file that was read.

    Attributes:
        form: its form by name.
        adapter: what it holds, all of it as LoRAs.
        kinds: the kind of each layer that was another one in the file, by its module; see `lycoris.py`.
    """

    form: str
    adapter: Adapter
    kinds: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """A layer in a file: its name there, its module (None: unknown), its tensors' keys, its kind, how to make it."""

    name: str
    module: str | None
    keys: Sequence[str]
    make: Callable[[], Layer]
    kind: str = "LoRA"


def read_lora(path: Path, shrink: Callable[[str, Layer], Layer] | None = None) -> LoraFile:
    """Read a LoRA file of any known form; a folder stands for the one weights file in it.

    Args:
        shrink: applied, with the module, to every layer as soon as it is read: a change of full rank need never be
            in memory with the others.

    Raises:
        UserError: it is missing, damaged, no LoRA, or of a kind that no LoRA can stand for; or other kinds' layers
            are too large without `shrink`.
    """
    path = _file(path)
    tensors, metadata = load_tensors(path)
    form = recognise(tensors, path)
    layers: dict[str, Layer] = {}
    kinds: dict[str, str] = {}
    first: dict[str, str] = {}  # the key under which a module was found
    strange, used, size = [], set(), 0
    read = {"kohya": _kohya, "cloneofsimo": _numbered}.get(form, _dotted)
    for found in read(tensors, metadata, path):
        used.update(found.keys)
        module = found.module
        if module is None or not known(module):
            strange.append(found.name)
            continue
        if module in layers:
            names = f"{first[module]} and {found.keys[0]}"
            fix = "leave out one of the two; what they do together `lorakiln merge` can make of two files"
            raise UserError(f"one layer stands under two names, {names}", where=path, fix=fix)
        layer = found.make()
        layers[module] = shrink(module, layer) if shrink else layer
        first[module] = found.keys[0]
        if found.kind != "LoRA":
            kinds[module] = found.kind
            size += sum(factor.nbytes for factor in (layers[module].down, layers[module].up))
            _check_size(size, found.kind, path)
    check_familiar(strange, path)
    if odd := sorted(set(tensors) - used):
        raise UserError(
            f"{len(odd)} of its {len(tensors)} tensors belong to no layer of a LoRA: {', '.join(odd[:3])}",
            where=path,
            fix="the file is damaged, or of a form that is not known: get it again from where it was made",
        )
    adapter = Adapter(layers, metadata)
    adapter = replace(adapter, base=base_of_names(tensors, adapter))
    if base_version(adapter) == "sd_v1":
        adapter = replace(adapter, layers=layers | {name: _pointwise(name, layers[name]) for name in kinds})
    return LoraFile(form, adapter, kinds)


def _pointwise(module: str, layer: Layer) -> Layer:
    """Stable Diffusion 1's projections around a transformer are 1x1 convolutions; LyCORIS stores factors flat."""
    if not module.endswith((".proj_in", ".proj_out")) or layer.down.ndim == 4:
        return layer
    return replace(layer, down=layer.down[..., None, None], up=layer.up[..., None, None])


def _check_size(size: int, kind: str, path: Path) -> None:
    if size > LARGEST:
        what = f"its {kind} layers are of so high a rank that as LoRAs they take more than {LARGEST / 2**30:g} GiB"
        raise UserError(what, where=path, fix=f"cut them down: lorakiln convert {path} lora.safetensors --rank 32")


def recognise(tensors: Mapping[str, Tensor], path: Path) -> str:
    """The form of a file by its keys.

    Raises:
        UserError: it is no LoRA, or another kind of adapter, which is named.
    """
    check_kinds(tensors, path)
    if numbered.is_numbered(tensors):
        return "cloneofsimo"
    if any(key.startswith("lora_") for key in tensors):
        return "kohya"
    if any(key.startswith(_PEFT) for key in tensors):
        return "peft"
    if any("_lora.down" in key or "_lora.up" in key for key in tensors):
        return "diffusers-old"
    if any(key.endswith(_DOWN) for key in tensors):
        return "diffusers"
    some = ", ".join(sorted(tensors)[:3]) or "no tensors"
    fix = "`lorakiln inspect` says what LoRA files hold; a base model is named in the config, model.path"
    raise UserError(f"no LoRA file: it holds {some}", where=path, fix=fix)


def _file(path: Path) -> Path:
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


def _kohya(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Iterator[_Found]:
    endings: dict[str, set[str]] = {}
    for key in tensors:
        name, _, ending = key.partition(".")
        endings.setdefault(name, set()).add(ending)
    for name, present in sorted(endings.items()):
        module, where = module_of(name), f"{path}: {name}"
        present -= {"diff_b"}  # of zeros, if it is there: others were refused
        if kind := lycoris.kind_of(present):
            needed, more = lycoris.ENDINGS[kind]
            given = {ending: tensors[f"{name}.{ending}"] for ending in present & (needed | more)}
            make = partial(lycoris.layer_of_kind, kind, given, module or "", where)
            keys = [f"{name}.{ending}" for ending in sorted(given)]
            yield _Found(name, module, [*keys, f"{name}.diff_b"], make, kind)
        elif {"lora_down.weight", "lora_up.weight"} <= present:
            keys = [f"{name}.{ending}" for ending in ("lora_down.weight", "lora_up.weight", "alpha")]
            make = partial(layer_of, tensors[keys[0]], tensors[keys[1]], tensors.get(keys[2]), where)
            yield _Found(name, module, [*keys, f"{name}.diff_b"], make)


def _numbered(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Iterator[_Found]:
    for name, module in numbered.modules(tensors, metadata, path).items():
        down, up = f"{name}:down", f"{name}:up"
        yield _Found(
            name, module, (down, up), partial(layer_of, tensors[down], tensors[up], None, f"{path}: {name}")
        )  # fmt: skip


def _dotted(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Iterator[_Found]:
    config = _config(metadata, path)
    for key in sorted(tensors):
        ending = next((end for end in _DOWN if key.endswith(end)), None)
        if ending is None:
            continue
        name = key.removesuffix(ending)
        up = name + _UP[ending]
        if up not in tensors:
            continue
        module = _module(name, config.get(PART))
        keys = [key, up]
        alpha: Tensor | float = alpha_of(config, module, len(tensors[key]) if tensors[key].ndim else 1, path)
        if name + ".alpha" in tensors:
            keys.append(name + ".alpha")
            alpha = tensors[name + ".alpha"]
        yield _Found(name, module, keys, partial(layer_of, tensors[key], tensors[up], alpha, f"{path}: {name}"))


def _module(name: str, part: str | None = None) -> str:
    """The canonical module of a key in dots; `part`: where it stands if the key does not say."""
    name = _PROCESSOR.sub(lambda m: f".to_{m[1]}" + (".0" if m[1] == "out" else ""), name.removeprefix(_PEFT))
    if name.split(".")[0] not in ("unet", "text_encoder", "text_encoder_2"):
        part = part or ("text_encoder" if "encoder.layers." in name else "unet")
        name = f"{part}.{name}"
    return canonical(name)


def _config(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """diffusers' lora_adapter_metadata, or the adapter_config.json beside the file with no part in front."""
    beside = path.parent / "adapter_config.json"
    text = metadata.get(diffusers_form.METADATA)
    where: object = path
    if text is None and beside.is_file():
        text, where = beside.read_text("utf-8", errors="replace"), beside
    if text is None:
        return {}
    config = read_config(text, where)
    if diffusers_form.METADATA in metadata:
        return config
    part = _peft_part(config)
    given = {f"{one}.{key}": value for one in ([part] if part else PEFT_CLASSES) for key, value in config.items()}
    return given | {PART: part}


def _peft_part(config: Mapping[str, Any]) -> str | None:
    """The part that a peft folder is for, by the class of its network."""
    mapping = config.get("auto_mapping")
    name = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    return next((part for part, known in PEFT_CLASSES.items() if known["base_model_class"] == name), None)
