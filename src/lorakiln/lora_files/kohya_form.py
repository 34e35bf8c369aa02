"""LoRA files as kohya's sd-scripts writes them and A1111, Forge and ComfyUI read them.

A layer's tensors are "<name>.<ending>", as "<name>.lora_down.weight"; <name> is the module's path with "_" for ".",
after "lora_unet_" or "lora_te_". The family knows the names, the kind of adapter the endings.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from lorakiln.adapters.adapter import Adapter, Change
from lorakiln.adapters.protocol import Stored, find_trained_kind, select_endings
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.protocol import Family
from lorakiln.lora_files.embeddings import bundle_embeddings, split_embeddings


def make_tensors(adapter: Adapter, name_of: Callable[[str], str], kind: str = "lora") -> dict[str, Tensor]:
    """The file's tensors, with the words that the adapter brings along.

    Args:
        adapter: in the precision that is to be written (`casting.cast_adapter`).
        name_of: kohya's name of a module, such as `Family.kohya_name`.
        kind: of its layers.
    """
    own = find_trained_kind(kind)
    tensors: dict[str, Tensor] = {}
    for module, layer in adapter.layers.items():
        name = name_of(module)
        tensors |= {f"{name}.{ending}": tensor for ending, tensor in own.tensors(layer, "kohya").items()}
    return tensors | bundle_embeddings(adapter.embeddings.values())


def save(adapter: Adapter, path: Path, family: Family, metadata: Mapping[str, str], kind: str = "lora") -> None:
    """Write `adapter`, as `make_tensors` takes it, with its true alphas; raises UserError if the disk is full."""
    save_tensors(path, make_tensors(adapter, family.kohya_name, kind), metadata)


def load(path: Path, family: Family, client: str = "kohya", kind: str = "lora") -> Adapter:
    """Read a file with the keys that a client knows for the layers of a base model.

    Args:
        family: bare, loaded with the parts that the file adapts.
        client: one of `family.client_keys()`.
        kind: of its layers.

    Raises:
        UserError: it is no adapter of this kind for this base model, or holds numbers that are not finite.
    """
    tensors, metadata = load_tensors(path)
    tensors, embeddings = split_embeddings(tensors, path)
    own, modules = find_trained_kind(kind), family.client_keys()[client]
    given: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, ending = key.partition(".")
        given.setdefault(name, {})[ending] = tensor
    layers: dict[str, Change] = {}
    unknown = set(tensors)
    for name in sorted(given.keys() & set(modules)):
        if taken := own.claim(given[name], "kohya"):
            layers[modules[name]] = own.read(
                Stored(path, name, modules[name], "kohya", select_endings(given[name], taken))
            )
            unknown -= {f"{name}.{ending}" for ending in taken}
    if unknown or not layers:
        some = ", ".join(sorted(unknown)[:3]) or "it is empty"
        raise UserError(
            f"{len(unknown)} of its {len(tensors)} tensors are no {own.TITLE}'s on the base model: {some}",
            where=path,
            fix=f"use the base model that the {own.TITLE} was trained on; other kinds of adapter are read by convert",
        )
    return Adapter(layers, metadata, embeddings=embeddings)
