"""Any LoRA file: find out whose form it is in, and read it into an Adapter with canonical module names.

Forms, by their keys:
    kohya        lora_unet_<path>.lora_down.weight, .lora_up.weight, .alpha   (sd-scripts; LyCORIS' LoCon too)
    diffusers    unet.<path>.lora_A.weight, .lora_B.weight   (or .lora.down.weight, .lora.up.weight)
    diffusers-old  [unet.]<path>.processor.to_q_lora.down.weight, ..._lora.up.weight   (attention processors, 2023)
    peft         base_model.model.<path>.lora_A.weight, with adapter_config.json beside it
Recognised and refused by name: LoHa, LoKr, IA3, OFT, full differences, DoRA, cloneofsimo's numbered lists.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorakiln.artefacts.tensors import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.names import canonical, known, module_of
from lorakiln.lora_files import diffusers_form
from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.lora_files.alphas import alpha_of, read_config
from lorakiln.lora_files.base import base_of_names
from lorakiln.lora_files.checks import layer_of
from lorakiln.lora_files.diffusers_form import PEFT_CLASSES
from lorakiln.lora_files.strangers import check_familiar

# What a key's ending says that this program cannot turn into down and up.
OTHERS = {
    "hada_w1_a": "LoHa (LyCORIS)",
    "lokr_w1": "LoKr (LyCORIS)",
    "lokr_w1_a": "LoKr (LyCORIS)",
    "on_input": "IA3 (LyCORIS)",
    "oft_blocks": "OFT",
    "oft_diag": "OFT",
    "oft_R.weight": "OFT",
    "diff": "full weight differences (LyCORIS)",
    "lora_mid.weight": "a Tucker-decomposed LoCon (LyCORIS)",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lora_magnitude_vector.weight": "DoRA",
    "emb_params": "a textual inversion, not a LoRA",
}
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
    """A LoRA file that was read: its form by name, and what it holds."""

    form: str
    adapter: Adapter


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA file of any known form; a folder stands for the one weights file in it.

    Raises:
        UserError: it is missing, damaged, no LoRA, or of a kind that is no pair of down and up.
    """
    path = _file(path)
    tensors, metadata = load_tensors(path)
    form = recognise(tensors, path)
    read = _kohya if form == "kohya" else _dotted
    layers: dict[str, Layer] = {}
    first: dict[str, str] = {}  # the key under which a module was found
    strange, used = [], set()
    for name, module, keys, alpha in read(tensors, metadata, path):
        used.update(keys)
        if module is None or not known(module):
            strange.append(name)
            continue
        if module in layers:
            fix = "leave out one of the two; what they do together `lorakiln merge` can make of two files"
            raise UserError(f"one layer stands under two names, {first[module]} and {keys[0]}", where=path, fix=fix)
        down, up = (tensors[key] for key in keys[:2])
        layers[module] = layer_of(down, up, alpha, f"{path}: {name}")
        first[module] = keys[0]
    check_familiar(strange, path)
    if odd := sorted(set(tensors) - used):
        raise UserError(
            f"{len(odd)} of its {len(tensors)} tensors belong to no layer of a LoRA: {', '.join(odd[:3])}",
            where=path,
            fix="the file is damaged, or of a form that is not known: get it again from where it was made",
        )
    adapter = Adapter(layers, metadata)
    return LoraFile(form, replace(adapter, base=base_of_names(tensors, adapter)))


def recognise(tensors: Mapping[str, Tensor], path: Path) -> str:
    """The form of a file by its keys.

    Raises:
        UserError: it is no LoRA, or another kind of adapter, which is named.
    """
    for key in tensors:
        for ending, kind in OTHERS.items():
            if key.endswith("." + ending) or key == ending:
                fix = "use it in the program that made it; LoRA, LoCon and their diffusers and peft forms are read"
                raise UserError(f"this is {kind}, which has no down and up matrices", where=path, fix=fix)
    if any(re.fullmatch(r"(unet|text_encoder):\d+:(up|down)", key) for key in tensors):
        fix = "it numbers its layers instead of naming them: convert it with the script of cloneofsimo/lora first"
        raise UserError("this is a LoRA in cloneofsimo's form", where=path, fix=fix)
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


def _kohya(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path):
    """(its name, module or None, its keys, alpha) of every layer."""
    for name in sorted({key.split(".")[0] for key in tensors}):
        down, up, alpha = f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"
        if down not in tensors or up not in tensors:
            continue
        module = module_of(name)
        if alpha in tensors:
            yield name, module, (down, up, alpha), tensors[alpha]
        else:
            yield name, module, (down, up), None


def _dotted(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path):
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
        yield name, module, keys, alpha


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


def as_dtype(adapter: Adapter, dtype: torch.dtype) -> Adapter:
    """All layers in `dtype`."""
    layers = {name: Layer(one.down.to(dtype), one.up.to(dtype), one.alpha) for name, one in adapter.layers.items()}
    return replace(adapter, layers=layers)
