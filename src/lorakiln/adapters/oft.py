"""OFT and BOFT: the base's weight turned by orthogonal matrices R, which Cayley's transform makes of skew ones Q.

    R = (I + Q) (I - Q)^-1,  Q = B - B^T, B the blocks in the file

    kind   blocks           weight
    OFT    (n, b, b)        block by block of b outputs, R^T W
    BOFT   (m, n, b, b)     R_m ... R_1 W, each in blocks of b outputs that are 2^i b / 2 apart in the i-th, i from 0

A `rescale` (out) then multiplies the outputs. `alpha` is COFT's constraint, ||Q|| <= alpha * out over all blocks:
LyCORIS means none by 0, sd-scripts' networks/oft.py (names in oft_unet_) by no alpha at all.
Sources: arXiv 2306.07280, 2311.06243; sd-scripts, networks/oft.py; LyCORIS, functional/diag_oft.py, boft.py.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Relative
from lorakiln.lora_files.checks import FIX, number, weights

OFT, BOFT = "OFT", "BOFT"
ENDINGS = {"oft_blocks", "rescale", "alpha"}
_TINY = 1e-8  # in both programs' division by the norm


def rotation(tensors: Mapping[str, Tensor], where: str, *, kohya: bool = False) -> Relative:
    """The layer of LyCORIS' or kohya's tensors.

    Args:
        tensors: by their endings, `ENDINGS`; all but oft_blocks may be missing.
        kohya: it is by sd-scripts' own module.

    Raises:
        UserError: they are no square blocks of finite numbers.
    """
    blocks = weights(tensors["oft_blocks"], f"{where}, oft_blocks", (3, 4))
    if blocks.shape[-1] != blocks.shape[-2]:
        sides = f"{blocks.shape[-2]}x{blocks.shape[-1]}"
        raise UserError(f"its blocks are {sides}, and those of a rotation are square", where=where, fix=FIX)
    rescale = tensors.get("rescale")
    if rescale is not None:
        rescale = weights(rescale, f"{where}, rescale", (1, 2, 3, 4)).flatten()
    alpha = number(tensors["alpha"], f"{where}, alpha") if "alpha" in tensors else None
    kind = OFT if blocks.ndim == 3 else BOFT
    outputs = blocks.shape[-3] * blocks.shape[-1]
    bounded = alpha is not None and (kohya or alpha > 0)
    limit = max(alpha, 0.0) * outputs if bounded else None
    change = partial(_change, blocks, limit, rescale)
    numbers = blocks.numel() + (0 if rescale is None else rescale.numel())
    return Relative(kind, change, where, numbers, blocks.dtype)


def _change(blocks: Tensor, limit: float | None, rescale: Tensor | None, weight: Tensor) -> Tensor:
    if blocks.shape[-3] * blocks.shape[-1] != weight.shape[0]:
        raise ValueError("blocks for another number of outputs")
    skew = blocks.float() - blocks.float().mT
    if limit is not None:
        norm = skew.norm()
        skew = skew * ((norm.clamp(max=limit) + _TINY) / (norm + _TINY))
    turns = cayley(skew)
    turned = weight.flatten(1)
    if blocks.ndim == 3:
        turned = (turns.mT @ turned.reshape(*turns.shape[:2], -1)).flatten(0, 1)
    else:
        for stage, turn in enumerate(turns):
            turned = _butterfly(turn, 2**stage, turned)
    if rescale is not None:
        if len(rescale) != weight.shape[0]:
            raise ValueError("a scale for another number of outputs")
        turned = turned * rescale.float()[:, None]
    return turned.reshape(weight.shape) - weight


def cayley(skew: Tensor) -> Tensor:
    """(I + Q) (I - Q)^-1 of skew matrices (..., b, b)."""
    identity = torch.eye(skew.shape[-1])
    return torch.linalg.solve(identity - skew, identity + skew, left=False)


def _butterfly(turn: Tensor, far: int, rows: Tensor) -> Tensor:
    """One stage: each (n, b, b) turns b of the rows, taken in turns from two neighbours of far * b / 2 rows each."""
    reach = far * turn.shape[-1] // 2
    if turn.shape[-1] % 2 or rows.shape[0] % (2 * reach):
        raise ValueError("blocks that do not reach so far")
    mixed = rows.reshape(-1, 2, reach, rows.shape[1]).transpose(1, 2)
    turned = turn @ mixed.reshape(*turn.shape[:2], -1)
    return turned.reshape(mixed.shape).transpose(1, 2).reshape(rows.shape)
