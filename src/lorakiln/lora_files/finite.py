"""Numbers that are not finite never go into a LoRA file, nor come out of one unseen."""

import torch
from torch import Tensor

from lorakiln.console.errors import UserError

# How far a layer's weight change may be from the original one, relative, in a precision. Half a unit in the last place
# of each factor of up @ down, with room for their product. Half precision loses more where weights are below its
# smallest normal number, 6e-5: see `fitting`.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def check_finite(*tensors: Tensor, where: str) -> None:
    """Raise UserError, naming `where`, if any number is NaN or infinite."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise UserError("it holds numbers that are not finite", where=where, fix="use the adapter saved before it")
