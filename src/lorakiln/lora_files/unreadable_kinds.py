"""Adapters that cannot be read, and files that are none: recognised, and refused with the reason."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorakiln.adapters.protocol import Refused, list_kinds
from lorakiln.console.errors import UserError

_WORD = Refused(("emb_params",), "a textual inversion, not a LoRA", "it is a word's embedding")
_FIX = "use it in the program that made it; docs/lora_files.md lists what is read"


def check_readable(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError, which names the kind and says why, if any of a file's tensors belongs to such an adapter."""
    refused = [one for kind in list_kinds() for one in getattr(kind, "REFUSED", ())] + [_WORD]
    for key in tensors:
        for one in refused:
            if any(key == ending or key.endswith("." + ending) for ending in one.endings):
                raise UserError(f"this is {one.what}: {one.why} ({key})", where=path, fix=_FIX)
