"""LoRA files as kohya's sd-scripts writes them and A1111, Forge and ComfyUI read them.

A layer is "<name>.lora_down.weight", "<name>.lora_up.weight" and "<name>.alpha" (a scalar; absent: alpha = rank);
<name> is the module's path with "_" for ".", after "lora_unet_" or "lora_te_". The family knows the names.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lorakiln.artefacts.tensors import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.protocol import Family
from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.lora_files.checks import layer_of

DOWN, UP, ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"


def tensors_of(adapter: Adapter, name_of: Callable[[str], str]) -> dict[str, Tensor]:
    """The file's tensors.

    Args:
        adapter: in the precision that is to be written (`fitting.fitted`).
        name_of: kohya's name of a module, such as `Family.kohya_name`.
    """
    tensors = {}
    for module, layer in adapter.layers.items():
        name = name_of(module)
        tensors |= {name + DOWN: layer.down, name + UP: layer.up, name + ALPHA: _alpha(layer.alpha, layer.dtype)}
    return tensors


def _alpha(alpha: float, dtype: torch.dtype) -> Tensor:
    """In the weights' dtype, or in float32 where that has not this number: 257 is 256 in bfloat16."""
    rounded = torch.tensor(alpha, dtype=dtype)
    single = torch.tensor(alpha, dtype=torch.float32)
    return rounded if rounded.double() == single.double() else single


def save(adapter: Adapter, path: Path, family: Family, metadata: Mapping[str, str]) -> None:
    """Write `adapter`, as `tensors_of` takes it, with its true alphas; raises UserError if the disk is full."""
    save_tensors(path, tensors_of(adapter, family.kohya_name), metadata)


def load(path: Path, family: Family, client: str = "kohya") -> Adapter:
    """Read a file with the keys that a client knows for the layers of a base model.

    Args:
        family: bare, loaded with the parts that the file adapts.
        client: one of `family.client_keys()`.

    Raises:
        UserError: it is no LoRA for this base model, or holds numbers that are not finite.
    """
    tensors, metadata = load_tensors(path)
    modules = family.client_keys()[client]
    layers: dict[str, Layer] = {}
    unknown = set(tensors)
    for name in sorted({key.split(".")[0] for key in tensors} & set(modules)):
        down, up, alpha = (tensors.get(name + end) for end in (DOWN, UP, ALPHA))
        if down is not None and up is not None:
            layers[modules[name]] = layer_of(down, up, alpha, f"{path}: {name}")
            unknown -= {name + DOWN, name + UP, name + ALPHA}
    if unknown or not layers:
        some = ", ".join(sorted(unknown)[:3]) or "it is empty"
        raise UserError(
            f"{len(unknown)} of its {len(tensors)} tensors are no LoRA's on the base model: {some}",
            where=path,
            fix="use the base model that the LoRA was trained on; LoHa, LoKr and DoRA are other kinds of adapter",
        )
    return Adapter(layers, metadata)
