"""Adapters that cannot be read: recognised, and refused with the reason."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorakiln.adapters.protocol import list_kinds
from lorakiln.console.errors import UserError

_FIX = "use it in the program that made it; docs/lora_files.md lists what is read"


def check_readable(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError, which names the kind and says why, if any of a file's tensors belongs to such an adapter."""
    refused = [one for kind in list_kinds() for one in getattr(kind, "REFUSED", ())]
    for key in tensors:
        for one in refused:
            if any(key == ending or key.endswith("." + ending) for ending in one.endings):
                raise UserError(f"this is {one.what}: {one.why} ({key})", where=path, fix=_FIX)
