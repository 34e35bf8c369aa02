"""OFT: the base's weight turned block by block; see `rotations`. LyCORIS and kohya turn the outputs, peft the inputs:

    W' = W R^T, R = (I - Q) (I + Q)^-1, or the first terms of the series that is (I + Q) (I - Q)^-1
    (use_cayley_neumann); Q skew, the file has its upper triangle row by row

Source of the second: peft, tuners/oft/layer.py.
"""

import math
from collections.abc import Mapping, Set
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Change, Relative
from lorakiln.adapters.checks import FIX, to_weight
from lorakiln.adapters.formula import Tensors
from lorakiln.adapters.lokr import split
from lorakiln.adapters.peft_config import find_entry, find_setting
from lorakiln.adapters.protocol import Endings, Form, Refused, Stored
from lorakiln.adapters.rotations import OUTPUTS, Rotation, compute_cayley
from lorakiln.console.errors import UserError

TERMS = 100  # of the series at most: peft takes 5


class OFT(Rotation):
    """See above."""

    TITLE = "OFT"
    ALGO = "diag-oft"
    ENDINGS: ClassVar[Mapping[Form, Endings]] = {
        "kohya": OUTPUTS,
        "dotted": Endings({"oft_R.weight", *OUTPUTS.tells}, OUTPUTS.more),  # a run's own files have the others
    }
    REFUSED = (
        Refused(
            ("oft_diag", "oft_r", "oft_R", "oft_s"),
            "OFT of an early LyCORIS or peft",
            "several versions of the programs meant different things by this name",
        ),
    )

    def claim(self, tensors: Tensors, form: Form) -> Set[str]:
        """BOFT's blocks have the same name and four dimensions."""
        if "oft_blocks" in tensors:
            return frozenset() if tensors["oft_blocks"].ndim == 4 else OUTPUTS.whole(tensors)
        return {"oft_R.weight"} & tensors.keys() if form == "dotted" else frozenset()

    def turned(self, turns: Tensor, rows: Tensor) -> Tensor:
        return (turns.mT @ rows.reshape(*turns.shape[:2], -1)).flatten(0, 1)

    def block_shape(self, outputs: int, settings: Any, module: str) -> tuple[int, ...]:
        """LyCORIS' blocks: their side, a divisor of the outputs, is no larger than their number."""
        side, count = split(outputs, settings.rank)
        if side == 1:
            what = f"{module} has {outputs} outputs, which no blocks of up to {settings.rank} divide"
            raise UserError(what, where="train.adapter.rank", fix="take a larger rank, or other targets")
        return count, side, side

    def read_inputs(self, stored: Stored) -> Change:
        return _of_inputs(stored)


def _of_inputs(stored: Stored) -> Relative:
    config, module, where = stored.config, stored.module, stored.where
    triangles = to_weight(stored.tensors["oft_R.weight"], f"{where}, oft_R", (2,))
    side = (1 + math.isqrt(1 + 8 * triangles.shape[1])) // 2
    if side * (side - 1) // 2 != triangles.shape[1]:
        raise UserError(f"{triangles.shape[1]} numbers are no triangle of a rotation's", where=where, fix=FIX)
    terms = None
    if find_setting(config, module, "use_cayley_neumann"):
        # peft 0.18 changed the series, and was the first to write its version.
        if not find_setting(config, module, "peft_version"):
            what = "its rotations are a series as peft before 0.18 took it, which is no longer read"
            raise UserError(what, where=where, fix="use it with the peft that made it")
        terms = find_setting(config, module, "num_cayley_neumann_terms", 5)
        if not isinstance(terms, int) or not 1 <= terms <= TERMS:
            raise UserError("its num_cayley_neumann_terms is no number of terms", where=where, fix=FIX)
    bound = None
    if find_setting(config, module, "coft"):
        bound = find_entry(config, module, "eps", None, 6e-5, where) / math.sqrt(len(triangles))
    shared = bool(find_setting(config, module, "block_share"))
    change = partial(_change, triangles, side, terms, bound, shared, where)
    return Relative(OFT.TITLE, change, where, triangles.numel(), triangles.dtype)


def _change(
    triangles: Tensor, side: int, terms: int | None, bound: float | None, shared: bool, where: str, weight: Tensor
) -> Tensor:
    if weight[0, 0].numel() > 1:
        # Its forward turns unfolded patches and adds up where they overlap; its merged weight does something else.
        what = "peft trains OFT on convolutions larger than 1x1 as no change of their weights"
        raise UserError(what, where=where, fix="use it in the program that made it")
    columns = weight.flatten(1)
    count = columns.shape[1] // side if shared else len(triangles)
    if count * side != columns.shape[1]:
        raise ValueError("blocks for another number of inputs")
    skew = torch.zeros(len(triangles), side, side)
    skew[:, *torch.triu_indices(side, side, 1)] = triangles.float()
    skew = skew - skew.mT
    if bound is not None:
        norms = torch.linalg.matrix_norm(skew)[:, None, None]
        skew = torch.where(norms <= bound, skew, skew * (bound / norms))
    # peft's transform is that of LyCORIS of -Q, and its series that of Q.
    turns = compute_cayley(-skew) if terms is None else _series(skew, terms)
    blocks = columns.reshape(len(columns), count, side).transpose(0, 1)
    turned = (blocks @ turns.mT).transpose(0, 1).reshape(weight.shape)
    return turned - weight


def _series(skew: Tensor, terms: int) -> Tensor:
    """I + 2 Q + 2 Q^2 + ..., the last power once and not twice; with three terms as many as with four."""
    total = torch.eye(skew.shape[-1]).expand_as(skew).clone()
    highest = {1: 0, 2: 1, 3: 3}.get(terms, terms - 1)
    power = total
    for exponent in range(1, highest + 1):
        power = power @ skew
        total = total + (1.0 if exponent == highest > 1 else 2.0) * power
    return total


KIND = OFT()
