"""Kinds of adapters that are no LoRA and cannot be written as one: recognised, and refused with the reason."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorakiln.console.errors import UserError

_OLD = "several versions of the programs meant different things by this name"
_STEPS = "it changes the weights by another rank at every timestep"
# (what a key ends in, what it is, why it is not read)
_ENDINGS = (
    (("oft_diag", "oft_r", "oft_R", "oft_s"), "OFT of an early LyCORIS or peft", _OLD),
    (("a1.weight", "a2.weight", "b1.weight", "b2.weight"), "GLoRA (LyCORIS)", _OLD),
    (("lambda_layer",), "T-LoRA (LyCORIS)", _STEPS),
    (("emb_params",), "a textual inversion, not a LoRA", "it is a word's embedding"),
)
_FIX = "use it in the program that made it; docs/lora_files.md lists what is read"


def check_kinds(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError, which names the kind and says why, if any of a file's tensors belongs to such an adapter."""
    for key in tensors:
        for endings, kind, why in _ENDINGS:
            if any(key == ending or key.endswith("." + ending) for ending in endings):
                raise UserError(f"this is {kind}: {why} ({key})", where=path, fix=_FIX)
