"""BOFT: the base's weight turned in stages; see `rotations`. LyCORIS turns the outputs, peft the inputs:

    W' = s W (R_m ... R_1)^T; R_i = P_i diag((I - A) (I + A)^-1) P_i^T, A = (B - B^T) / 2; P_i puts, in every
    2^(i+1) half blocks, the even ones before the odd ones, i from 0; a single factor has none

Source of the second: peft, tuners/boft/layer.py.
"""

from collections.abc import Mapping, Set
from functools import partial

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Relative
from lorakiln.adapters.checks import to_weight
from lorakiln.adapters.protocol import Endings, Form, Stored
from lorakiln.adapters.rotations import OUTPUTS, check_square, compute_cayley, make_rotation

TITLE = "BOFT"
FULL_RANK, RELATIVE = False, True
ENDINGS: Mapping[Form, Endings] = {"kohya": OUTPUTS, "dotted": Endings({"boft_R"}, {"boft_s"})}


def claim(tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
    """OFT's blocks have the same name and three dimensions."""
    is_oft = "oft_blocks" in tensors and tensors["oft_blocks"].ndim != 4
    return frozenset() if is_oft else ENDINGS[form].whole(tensors)


def read(stored: Stored) -> Relative:
    return make_rotation(TITLE, _turned, stored) if stored.form == "kohya" else _of_inputs(stored)


def _turned(turns: Tensor, rows: Tensor) -> Tensor:
    for stage, turn in enumerate(turns):
        rows = _butterfly(turn, 2**stage, rows)
    return rows


def _butterfly(turn: Tensor, far: int, rows: Tensor) -> Tensor:
    """One stage: each (n, b, b) turns b of the rows, taken in turns from two neighbours of far * b / 2 rows each."""
    reach = far * turn.shape[-1] // 2
    if turn.shape[-1] % 2 or rows.shape[0] % (2 * reach):
        raise ValueError("blocks that do not reach so far")
    mixed = rows.reshape(-1, 2, reach, rows.shape[1]).transpose(1, 2)
    turned = turn @ mixed.reshape(*turn.shape[:2], -1)
    return turned.reshape(mixed.shape).transpose(1, 2).reshape(rows.shape)


def _of_inputs(stored: Stored) -> Relative:
    tensors, where = stored.tensors, stored.where
    blocks = check_square(to_weight(tensors["boft_R"], f"{where}, boft_R", (4,)), where)
    scales = to_weight(tensors["boft_s"], f"{where}, boft_s").flatten() if "boft_s" in tensors else None
    numbers = blocks.numel() + (0 if scales is None else scales.numel())
    return Relative(TITLE, partial(_change, blocks, scales), where, numbers, blocks.dtype)


def _change(blocks: Tensor, scales: Tensor | None, weight: Tensor) -> Tensor:
    stages, count, side, _ = blocks.shape
    rows = weight.flatten(1).T
    if count * side != len(rows):
        raise ValueError("blocks for another number of inputs")
    half = blocks.float() / 2
    for stage, turn in enumerate(compute_cayley(half.mT - half)):
        order = _order(len(rows), side, stage) if stages > 1 else torch.arange(len(rows))
        turned = (turn @ rows[order.argsort()].reshape(count, side, -1)).flatten(0, 1)
        rows = turned[order]
    changed = rows.T.reshape(weight.shape)
    if scales is not None:
        if len(scales) != len(weight):
            raise ValueError("a scale for another number of outputs")
        changed = changed * scales.float().reshape(-1, *[1] * (weight.ndim - 1))
    return changed - weight


def _order(size: int, side: int, stage: int) -> Tensor:
    """P of a stage: row i of P v is v[order[i]]."""
    if side % 2 or stage > size.bit_length():
        raise ValueError("blocks that do not reach so far")
    return torch.arange(size).reshape(-1, 2**stage, 2, side // 2).transpose(1, 2).flatten()
