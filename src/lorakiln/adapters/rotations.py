"""What OFT and BOFT have in common: the base's weight turned by orthogonal matrices R, which Cayley's transform makes
of skew ones Q.

    R = (I + Q) (I - Q)^-1,  Q = B - B^T, B the blocks in the file

    kind   blocks           weight, in LyCORIS' and sd-scripts' files, which turn the outputs
    OFT    (n, b, b)        block by block of b outputs, R^T W
    BOFT   (m, n, b, b)     R_m ... R_1 W, each in blocks of b outputs that are 2^i b / 2 apart in the i-th, i from 0

A `rescale` (out) then multiplies the outputs. `alpha` is COFT's constraint, ||Q|| <= alpha * out over all blocks:
LyCORIS means none by 0, sd-scripts' networks/oft.py (names in oft_unet_) by no alpha at all.
Sources: arXiv 2306.07280, 2311.06243; sd-scripts, networks/oft.py; LyCORIS, functional/diag_oft.py, boft.py.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Relative
from lorakiln.adapters.checks import FIX, to_number, to_weight
from lorakiln.adapters.protocol import Endings, Stored
from lorakiln.console.errors import UserError

OUTPUTS = Endings({"oft_blocks"}, {"rescale", "alpha"})
BY_KOHYA = "oft_unet_"  # what the names of sd-scripts' layers begin with
_TINY = 1e-8  # in both programs' division by the norm


def make_rotation(title: str, turned: Callable[[Tensor, Tensor], Tensor], stored: Stored) -> Relative:
    """The layer of LyCORIS' or kohya's tensors.

    Args:
        turned: of the rotations (..., b, b) and the weight (out, in): the weight turned.
        stored: all but oft_blocks may be missing.

    Raises:
        UserError: they are no square blocks of finite numbers.
    """
    where, tensors = stored.where, stored.tensors
    blocks = check_square(to_weight(tensors["oft_blocks"], f"{where}, oft_blocks", (3, 4)), where)
    rescale = tensors.get("rescale")
    if rescale is not None:
        rescale = to_weight(rescale, f"{where}, rescale", (1, 2, 3, 4)).flatten()
    alpha = to_number(tensors["alpha"], f"{where}, alpha") if "alpha" in tensors else None
    outputs = blocks.shape[-3] * blocks.shape[-1]
    limit = None
    if alpha is not None and (stored.written_by == BY_KOHYA or alpha > 0):
        limit = max(alpha, 0.0) * outputs
    change = partial(_change, turned, blocks, limit, rescale)
    numbers = blocks.numel() + (0 if rescale is None else rescale.numel())
    return Relative(title, change, where, numbers, blocks.dtype)


def check_square(blocks: Tensor, where: str) -> Tensor:
    """`blocks`; UserError if they are not square."""
    if blocks.shape[-1] != blocks.shape[-2]:
        sides = f"{blocks.shape[-2]}x{blocks.shape[-1]}"
        raise UserError(f"its blocks are {sides}, and those of a rotation are square", where=where, fix=FIX)
    return blocks


def _change(
    turned: Callable[[Tensor, Tensor], Tensor],
    blocks: Tensor,
    limit: float | None,
    rescale: Tensor | None,
    weight: Tensor,
) -> Tensor:
    if blocks.shape[-3] * blocks.shape[-1] != weight.shape[0]:
        raise ValueError("blocks for another number of outputs")
    skew = blocks.float() - blocks.float().mT
    if limit is not None:
        norm = skew.norm()
        skew = skew * ((norm.clamp(max=limit) + _TINY) / (norm + _TINY))
    rows = turned(compute_cayley(skew), weight.flatten(1))
    if rescale is not None:
        if len(rescale) != weight.shape[0]:
            raise ValueError("a scale for another number of outputs")
        rows = rows * rescale.float()[:, None]
    return rows.reshape(weight.shape) - weight


def compute_cayley(skew: Tensor) -> Tensor:
    """(I + Q) (I - Q)^-1 of skew matrices (..., b, b)."""
    identity = torch.eye(skew.shape[-1])
    turned: Tensor = torch.linalg.solve(identity - skew, identity + skew, left=False)
    return turned
