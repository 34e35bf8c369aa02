"""The layers in a LoRA file's tensors, form by form (`reading.py` names them): which module, of what kind.

How a form spells a layer's name is known here, what a layer's tensors are called to the kinds of adapters.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lorakiln.adapters.adapter import Change
from lorakiln.adapters.peft_config import read_config
from lorakiln.adapters.protocol import (
    AdapterKind,
    Endings,
    Form,
    Stored,
    find_claiming_kind,
    list_kinds,
    select_endings,
)
from lorakiln.families.layer_names import module_of, to_canonical_name
from lorakiln.lora_files import diffusers_form, numbered_form
from lorakiln.lora_files.diffusers_form import group_by_layer, list_peft_classes

# diffusers' converter to kohya's names leaves dots in those of peft's magnitudes: ..._attn1.to_q.lora_magnitude_vector
_HALFWAY = re.compile(r"(.+)\.(lora_magnitude_vector(?:\.weight)?)")
_PROCESSOR = re.compile(r"(?:\.processor)?\.to_(q|k|v|out)_lora$")
PEFT = "base_model.model."
PEFT_CONFIG = "adapter_config.json"  # beside a file of peft's
# What kohya's names of layers begin with: those of sd-scripts' networks for LoRA and for OFT; LyCORIS writes the last
# where another trainer wraps a UNet in it.
KOHYA = ("lora_", "oft_unet_", "lycoris_")
_PART = "part"  # of a config read from a peft folder: the one part that it is for


@dataclass(frozen=True)
class FileLayer:
    """A layer in a file: its name there, its module (None: unknown), its tensors' keys, its kind, what is stored."""

    name: str
    module: str | None
    keys: Sequence[str]
    kind: AdapterKind
    stored: Stored

    def read(self) -> Change:
        """The layer; UserError if its tensors are none."""
        return self.kind.read(self.stored)


def find_layers(
    form: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path
) -> Iterator[FileLayer]:
    """Every layer of a file of this form; tensors that no layer names as its own are none's."""
    if form == "kohya":
        yield from _kohya(tensors, path)
    elif form == "cloneofsimo":
        yield from _numbered(tensors, metadata, path)
    else:
        yield from _dotted(tensors, _config(metadata, path), path)


def has_dotted(keys: Iterable[str]) -> bool:
    """Whether one of them, a name with dots, is of a tensor that tells a kind of adapter."""
    endings = tuple(f".{ending}" for ending in _endings("dotted").tells)
    return any(key.endswith(endings) for key in keys)


def _endings(form: Form) -> Endings:
    """Those of all kinds."""
    found = [kind.ENDINGS[form] for kind in list_kinds() if form in kind.ENDINGS]
    return Endings(frozenset().union(*(one.tells for one in found)), frozenset().union(*(one.more for one in found)))


def _kohya(tensors: Mapping[str, Tensor], path: Path) -> Iterator[FileLayer]:
    layers: dict[str, dict[str, str]] = {}
    for key in tensors:
        halfway = _HALFWAY.fullmatch(key)
        name, ending = (halfway[1].replace(".", "_"), halfway[2]) if halfway else key.partition(".")[::2]
        layers.setdefault(name, {})[ending] = key
    kinds = list_kinds()
    for name, keys in sorted(layers.items()):
        prefix = next((one for one in KOHYA[1:] if name.startswith(one)), "")
        module = module_of(f"lora_unet_{name.removeprefix(prefix)}" if prefix else name)
        given = {ending: tensors[key] for ending, key in keys.items()}
        if claim := find_claiming_kind(given, "kohya", kinds):
            kind, taken = claim
            stored = Stored(path, name, module or "", "kohya", select_endings(given, taken), written_by=prefix)
            yield FileLayer(name, module, [keys[ending] for ending in sorted(taken)], kind, stored)


def _numbered(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Iterator[FileLayer]:
    kinds, layers = list_kinds(), group_by_layer(tensors, ":", _endings("numbered").all)
    for name, module in numbered_form.map_modules(tensors, metadata, path).items():
        if claim := find_claiming_kind(layers.get(name, {}), "numbered", kinds):
            kind, taken = claim
            stored = Stored(path, name, module, "numbered", select_endings(layers[name], taken))
            yield FileLayer(name, module, [f"{name}:{ending}" for ending in sorted(taken)], kind, stored)


def _dotted(tensors: Mapping[str, Tensor], config: Mapping[str, Any], path: Path) -> Iterator[FileLayer]:
    kinds = list_kinds()
    for name, given in sorted(group_by_layer(tensors, ".", _endings("dotted").all).items()):
        if claim := find_claiming_kind(given, "dotted", kinds):
            kind, taken = claim
            module = _module(name, config.get(_PART))
            stored = Stored(path, name, module, "dotted", select_endings(given, taken), config)
            yield FileLayer(name, module, [f"{name}.{ending}" for ending in sorted(taken)], kind, stored)


def _module(name: str, part: str | None = None) -> str:
    """The canonical module of a key in dots; `part`: where it stands if the key does not say."""
    name = _PROCESSOR.sub(lambda m: f".to_{m[1]}" + (".0" if m[1] == "out" else ""), name.removeprefix(PEFT))
    if name.split(".")[0] not in list_peft_classes():
        part = part or ("text_encoder" if "encoder.layers." in name else "unet")
        name = f"{part}.{name}"
    return to_canonical_name(name)


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
    if any(key.startswith(tuple(f"{part}." for part in list_peft_classes())) for key in config):
        return config
    part = _peft_part(config)
    given = {
        f"{one}.{key}": value for one in ([part] if part else list_peft_classes()) for key, value in config.items()
    }
    return given | {_PART: part}


def _peft_part(config: Mapping[str, Any]) -> str | None:
    """The part that a peft folder is for, by the class of its network."""
    mapping = config.get("auto_mapping")
    name = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    return next((part for part, known in list_peft_classes().items() if known["base_model_class"] == name), None)
