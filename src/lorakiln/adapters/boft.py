"""BOFT: the base's weight turned in stages; see `rotations`. LyCORIS turns the outputs, peft the inputs:

    W' = s W (R_m ... R_1)^T; R_i = P_i diag((I - A) (I + A)^-1) P_i^T, A = (B - B^T) / 2; P_i puts, in every
    2^(i+1) half blocks, the even ones before the odd ones, i from 0; a single factor has none

Source of the second: peft, tuners/boft/layer.py.
"""

from collections.abc import Mapping, Set
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Change, Relative
from lorakiln.adapters.checks import to_weight
from lorakiln.adapters.formula import Tensors
from lorakiln.adapters.protocol import Endings, Form, Stored
from lorakiln.adapters.rotations import OUTPUTS, Rotation, check_square, compute_cayley
from lorakiln.console.errors import UserError


class BOFT(Rotation):
    """See above."""

    TITLE = "BOFT"
    ALGO = "boft"
    ENDINGS: ClassVar[Mapping[Form, Endings]] = {
        "kohya": OUTPUTS,
        "dotted": Endings({"boft_R", *OUTPUTS.tells}, {"boft_s", *OUTPUTS.more}),  # a run's own files have the others
    }

    def claim(self, tensors: Tensors, form: Form) -> Set[str]:
        """OFT's blocks have the same name and three dimensions."""
        if "oft_blocks" in tensors:
            return OUTPUTS.whole(tensors) if tensors["oft_blocks"].ndim == 4 else frozenset()
        if form == "dotted" and "boft_R" in tensors:
            return {"boft_R", "boft_s"} & tensors.keys()
        return frozenset()

    def turned(self, turns: Tensor, rows: Tensor) -> Tensor:
        for stage, turn in enumerate(turns):
            rows = _butterfly(turn, 2**stage, rows)
        return rows

    def block_shape(self, outputs: int, settings: Any, module: str) -> tuple[int, ...]:
        """LyCORIS' stages: 2^p blocks of an even side, the largest up to the rank, and p + 1 stages."""
        sides = [(outputs >> power, power) for power in range(outputs.bit_length()) if outputs % 2**power == 0]
        even = [(side, power) for side, power in sides if side % 2 == 0]
        side, power = next(((side, power) for side, power in even if side <= settings.rank), (0, 0))
        if not side:
            least = min((side for side, _ in even), default=None)
            what = f"{module} has {outputs} outputs: they are no power of two of even blocks of up to {settings.rank}"
            fix = f"set train.adapter.rank={least} or more" if least else "leave it out of train.adapter.targets"
            raise UserError(what, where="train.adapter.rank", fix=fix)
        return power + 1, 2**power, side, side

    def read_inputs(self, stored: Stored) -> Change:
        return _of_inputs(stored)


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
    return Relative(BOFT.TITLE, partial(_change, blocks, scales), where, numbers, blocks.dtype)


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


KIND = BOFT()
