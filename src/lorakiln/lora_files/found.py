"""The layers in a LoRA file's tensors, form by form (`reading.py` names them): which module, of what kind."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from lorakiln.families.names import canonical, module_of
from lorakiln.lora_files import diffusers_form, ia3, lycoris, numbered, peft_kinds, rotations
from lorakiln.lora_files.adapter import Layer, Relative
from lorakiln.lora_files.alphas import alpha_of, read_config
from lorakiln.lora_files.checks import layer_of
from lorakiln.lora_files.diffusers_form import peft_classes
from lorakiln.lora_files.dora import dora

LORA = "LoRA"
DOWN = (".lora_A.weight", ".lora.down.weight", ".lora_linear_layer.down.weight", ".lora_down.weight", ".down.weight")
_UP = {
    ".lora_A.weight": ".lora_B.weight",
    ".lora.down.weight": ".lora.up.weight",
    ".lora_linear_layer.down.weight": ".lora_linear_layer.up.weight",
    ".lora_down.weight": ".lora_up.weight",
    ".down.weight": ".up.weight",
}
# Of DoRA: LyCORIS', whose shape tells its axis, and peft's.
_SCALE = "dora_scale"
_MAGNITUDES = ("lora_magnitude_vector", "lora_magnitude_vector.weight")
_SCALES = (_SCALE, *_MAGNITUDES)
# diffusers' converter to kohya's names leaves dots in those of peft's magnitudes: ..._attn1.to_q.lora_magnitude_vector
_HALFWAY = re.compile(r"(.+)\.(lora_magnitude_vector(?:\.weight)?)")
# Of the other kinds, in names with dots.
KINDS = sorted(
    {end for ends in lycoris.ENDINGS.values() for group in ends for end in group}
    .union(*(group for ends in peft_kinds.ENDINGS.values() for group in ends))
    .difference({"alpha", "lora_up.weight", "lora_down.weight", "lora_mid.weight"})
)  # fmt: skip
_PROCESSOR = re.compile(r"(?:\.processor)?\.to_(q|k|v|out)_lora$")
PEFT = "base_model.model."
PEFT_CONFIG = "adapter_config.json"  # beside a file of peft's
OFT_UNET = "oft_unet_"  # sd-scripts' OFT
# What kohya's names of layers begin with; LyCORIS writes the last where another trainer wraps a UNet in it.
KOHYA = ("lora_", OFT_UNET, "lycoris_")
_PART = "part"  # of a config read from a peft folder: the one part that it is for


@dataclass(frozen=True)
class Found:
    """A layer in a file: its name there, its module (None: unknown), its tensors' keys, its kind, how to make it."""

    name: str
    module: str | None
    keys: Sequence[str]
    make: Callable[[], Layer | Relative]
    kind: str = LORA


def layers_in(form: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Iterator[Found]:
    """Every layer of a file of this form; tensors that no layer names as its own are none's."""
    if form == "kohya":
        yield from _kohya(tensors, path)
    elif form == "cloneofsimo":
        yield from _numbered(tensors, metadata, path)
    else:
        config = _config(metadata, path)
        yield from _dotted(tensors, config, path)
        yield from _dotted_kinds(tensors, config, path)


def _kohya(tensors: Mapping[str, Tensor], path: Path) -> Iterator[Found]:
    layers: dict[str, dict[str, str]] = {}
    for key in tensors:
        halfway = _HALFWAY.fullmatch(key)
        name, ending = (halfway[1].replace(".", "_"), halfway[2]) if halfway else key.partition(".")[::2]
        layers.setdefault(name, {})[ending] = key
    for name, keys in sorted(layers.items()):
        given = {ending: tensors[key] for ending, key in keys.items()}
        prefix = next((one for one in KOHYA[1:] if name.startswith(one)), "")
        module = module_of(f"lora_unet_{name.removeprefix(prefix)}" if prefix else name)
        kind, make, used = _of_kohya(given, module or "", f"{path}: {name}", prefix == OFT_UNET)
        if make is not None:
            yield Found(name, module, [keys[ending] for ending in sorted(used)], make, kind)


def _of_kohya(
    given: Mapping[str, Tensor], module: str, where: str, by_kohya: bool
) -> tuple[str, Callable[[], Layer | Relative] | None, set[str]]:
    """A layer's kind, how to make it (None: its tensors are no layer's) and the endings of those that it takes."""
    if "oft_blocks" in given:
        used = rotations.ENDINGS & set(given)
        return rotations.OFT, partial(rotations.rotation, _only(given, used), where, kohya=by_kohya), used
    if set(given) >= ia3.ENDINGS:
        return ia3.IA3, partial(ia3.scaling, _only(given, ia3.ENDINGS), where), ia3.ENDINGS
    make: Callable[[], Layer] | None = None
    kind, used = LORA, set()
    if other := lycoris.kind_of(set(given)):
        needed, more = lycoris.ENDINGS[other]
        kind, used = other, set(given) & (needed | more)
        make = partial(lycoris.layer_of_kind, kind, _only(given, used), module, where)
    elif {"lora_down.weight", "lora_up.weight"} <= set(given):
        used = {"lora_down.weight", "lora_up.weight", "alpha"} & set(given)
        make = partial(layer_of, given["lora_down.weight"], given["lora_up.weight"], given.get("alpha"), where)
    scale = next((ending for ending in _SCALES if ending in given), None)
    if make is not None and scale is not None:
        whole = partial(dora, make, kind, given[scale], where, by_output=scale != _SCALE)
        return kind, whole, used | {scale}
    return kind, make, used


def _only(given: Mapping[str, Tensor], endings: set[str]) -> dict[str, Tensor]:
    return {ending: given[ending] for ending in sorted(endings)}


def _numbered(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Iterator[Found]:
    for name, module in numbered.modules(tensors, metadata, path).items():
        down, up = f"{name}:down", f"{name}:up"
        yield Found(name, module, (down, up), partial(layer_of, tensors[down], tensors[up], None, f"{path}: {name}"))


def _dotted(tensors: Mapping[str, Tensor], config: Mapping[str, Any], path: Path) -> Iterator[Found]:
    for key in sorted(tensors):
        ending = next((end for end in DOWN if key.endswith(end)), None)
        if ending is None:
            continue
        name = key.removesuffix(ending)
        up = name + _UP[ending]
        if up not in tensors:
            continue
        module, where = _module(name, config.get(_PART)), f"{path}: {name}"
        keys = [key, up]
        alpha: Tensor | float = alpha_of(config, module, len(tensors[key]) if tensors[key].ndim else 1, path)
        if name + ".alpha" in tensors:
            keys.append(name + ".alpha")
            alpha = tensors[name + ".alpha"]
        make: Callable[[], Layer | Relative] = partial(layer_of, tensors[key], tensors[up], alpha, where)
        scale = next((ending for ending in _SCALES if f"{name}.{ending}" in tensors), None)
        if scale is not None:
            keys.append(f"{name}.{scale}")
            make = partial(dora, make, LORA, tensors[keys[-1]], where, by_output=scale != _SCALE)
        yield Found(name, module, keys, make)


def _dotted_kinds(tensors: Mapping[str, Tensor], config: Mapping[str, Any], path: Path) -> Iterator[Found]:
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if ending := next((end for end in KINDS if key.endswith(f".{end}")), None):
            layers.setdefault(key.removesuffix(f".{ending}"), {})[ending] = tensor
    for name, given in sorted(layers.items()):
        if kind := peft_kinds.kind_of(set(given)):
            module = _module(name, config.get(_PART))
            make = partial(peft_kinds.of_kind, kind, given, module, config, f"{path}: {name}")
            yield Found(name, module, [f"{name}.{ending}" for ending in given], make, kind)


def _module(name: str, part: str | None = None) -> str:
    """The canonical module of a key in dots; `part`: where it stands if the key does not say."""
    name = _PROCESSOR.sub(lambda m: f".to_{m[1]}" + (".0" if m[1] == "out" else ""), name.removeprefix(PEFT))
    if name.split(".")[0] not in peft_classes():
        part = part or ("text_encoder" if "encoder.layers." in name else "unet")
        name = f"{part}.{name}"
    return canonical(name)


def _config(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """diffusers' lora_adapter_metadata, or the adapter_config.json beside the file; with the part in front of each key.

    A network that is saved by itself, diffusers' save_lora_adapter, has no part in front in either place.
    """
    beside = path.parent / PEFT_CONFIG
    text = metadata.get(diffusers_form.METADATA)
    where: object = path
    if text is None and beside.is_file():
        text, where = beside.read_text("utf-8", errors="replace"), beside
    if text is None:
        return {}
    config = read_config(text, where)
    if any(key.startswith(tuple(f"{part}." for part in peft_classes())) for key in config):
        return config
    part = _peft_part(config)
    given = {f"{one}.{key}": value for one in ([part] if part else peft_classes()) for key, value in config.items()}
    return given | {_PART: part}


def _peft_part(config: Mapping[str, Any]) -> str | None:
    """The part that a peft folder is for, by the class of its network."""
    mapping = config.get("auto_mapping")
    name = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    return next((part for part, known in peft_classes().items() if known["base_model_class"] == name), None)
