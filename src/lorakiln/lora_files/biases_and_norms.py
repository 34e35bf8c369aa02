"""What a file changes beside the weights of linear layers and convolutions, which no LoRA holds: biases and norms.

LyCORIS' full differences come with those of the biases (`diff_b`), and with train_norm with those of the norms.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError

_ENDINGS = (".diff_b", ".w_norm", ".b_norm")


def split_biases_and_norms(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A file's tensors without those of biases and norms, and the keys of such that are not zero, sorted."""
    beside = {key for key, tensor in tensors.items() if key.endswith(_ENDINGS) or _of_norm(key, tensor)}
    rest = {key: tensor for key, tensor in tensors.items() if key not in beside}
    return rest, sorted(key for key in beside if bool(tensors[key].double().any()))


def check_no_biases_or_norms(changed: list[str], command: str, path: Path) -> None:
    """Refuse a file that changes some, by their keys.

    Args:
        command: the one that converts the file.

    Raises:
        UserError: there are such; it says how to leave them out.
    """
    if changed:
        raise UserError(
            f"it changes biases or norms too, in {format_count(len(changed), 'tensor')}, and a LoRA "
            f"weights alone ({changed[0]})",
            where=path,
            fix=f"`{command} --weights-only` leaves them out; the whole takes the program that made it",
        )


def _of_norm(key: str, tensor: Tensor) -> bool:
    return key.endswith(".diff") and tensor.ndim == 1
