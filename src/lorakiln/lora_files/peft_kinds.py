"""peft's other kinds of adapters, in folders with their adapter_config.json: LoHa, LoKr, OFT, BOFT, IA3.

LoHa and LoKr are LyCORIS' but for the scale, which is the config's alpha / r, always. OFT and BOFT turn the inputs,
where LyCORIS turns the outputs (rotations.py):

    OFT    W' = W R^T, block by block; R = (I - Q) (I + Q)^-1, or the first terms of the series that is
           (I + Q) (I - Q)^-1 (use_cayley_neumann); Q skew, the file has its upper triangle row by row
    BOFT   W' = s W (R_m ... R_1)^T; R_i = P_i diag((I - A) (I + A)^-1) P_i^T, A = (B - B^T) / 2; P_i puts, in every
           2^(i+1) half blocks, the even ones before the odd ones, i from 0; a single factor has none

Sources: peft, tuners/loha, lokr, oft, boft: layer.py.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.lora_files import ia3, lycoris
from lorakiln.lora_files.adapter import Layer, Relative
from lorakiln.lora_files.alphas import entry_of, setting_of
from lorakiln.lora_files.checks import FIX, weights
from lorakiln.lora_files.rotations import BOFT, OFT, cayley

# What tells a kind, and what may go with it.
ENDINGS = {
    OFT: ({"oft_R.weight"}, set()),
    BOFT: ({"boft_R"}, {"boft_s"}),
    ia3.IA3: ({"ia3_l"}, set()),
}
TERMS = 100  # of the series at most: peft takes 5


def kind_of(endings: set[str]) -> str | None:
    """The kind of layer, LyCORIS' or peft's, that has these tensors, or None."""
    own = next((kind for kind, (needed, _) in ENDINGS.items() if needed <= endings), None)
    return own or lycoris.kind_of(endings)


def of_kind(
    kind: str, tensors: Mapping[str, Tensor], module: str, config: Mapping[str, Any], where: str
) -> Layer | Relative:
    """The layer of a peft folder's tensors, by their endings.

    Args:
        config: the folder's, with the part in front of each key (`reading`).

    Raises:
        UserError: tensors or config hold something else than a layer of this kind does.
    """
    if kind == OFT:
        return _oft(tensors["oft_R.weight"], module, config, where)
    if kind == BOFT:
        return _boft(tensors, where)
    if kind == ia3.IA3:
        return ia3.peft_scaling(tensors["ia3_l"], module, _feedforward(config, module, where), where)
    if kind == lycoris.FULL:
        return lycoris.layer_of_kind(kind, tensors, module, where)
    layer = lycoris.layer_of_kind(kind, tensors, module, where)
    rank = next((len(tensors[name]) for name in ("hada_w1_b", "lokr_w1_b", "lokr_w2_b") if name in tensors), None)
    rank = entry_of(config, module, "r", "rank_pattern", rank or 1, where) if rank is None else rank
    if not rank > 0:
        raise UserError(f"its rank is {rank:g} by its config", where=where, fix=FIX)
    scale = entry_of(config, module, "alpha", "alpha_pattern", rank, where) / rank
    return replace(layer, alpha=layer.alpha * scale)


def _oft(given: Tensor, module: str, config: Mapping[str, Any], where: str) -> Relative:
    triangles = weights(given, f"{where}, oft_R", (2,))
    side = (1 + math.isqrt(1 + 8 * triangles.shape[1])) // 2
    if side * (side - 1) // 2 != triangles.shape[1]:
        raise UserError(f"{triangles.shape[1]} numbers are no triangle of a rotation's", where=where, fix=FIX)
    terms = None
    if setting_of(config, module, "use_cayley_neumann"):
        # peft 0.18 changed the series, and was the first to write its version.
        if not setting_of(config, module, "peft_version"):
            what = "its rotations are a series as peft before 0.18 took it, which is no longer read"
            raise UserError(what, where=where, fix="use it with the peft that made it")
        terms = setting_of(config, module, "num_cayley_neumann_terms", 5)
        if not isinstance(terms, int) or not 1 <= terms <= TERMS:
            raise UserError("its num_cayley_neumann_terms is no number of terms", where=where, fix=FIX)
    bound = None
    if setting_of(config, module, "coft"):
        bound = entry_of(config, module, "eps", None, 6e-5, where) / math.sqrt(len(triangles))
    shared = bool(setting_of(config, module, "block_share"))
    change = partial(_oft_change, triangles, side, terms, bound, shared, where)
    return Relative(OFT, change, where, triangles.numel(), triangles.dtype)


def _oft_change(
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
    turns = cayley(-skew) if terms is None else _series(skew, terms)
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


def _boft(tensors: Mapping[str, Tensor], where: str) -> Relative:
    blocks = weights(tensors["boft_R"], f"{where}, boft_R", (4,))
    if blocks.shape[-1] != blocks.shape[-2]:
        sides = f"{blocks.shape[-2]}x{blocks.shape[-1]}"
        raise UserError(f"its blocks are {sides}, and those of a rotation are square", where=where, fix=FIX)
    scales = weights(tensors["boft_s"], f"{where}, boft_s").flatten() if "boft_s" in tensors else None
    numbers = blocks.numel() + (0 if scales is None else scales.numel())
    return Relative(BOFT, partial(_boft_change, blocks, scales), where, numbers, blocks.dtype)


def _boft_change(blocks: Tensor, scales: Tensor | None, weight: Tensor) -> Tensor:
    stages, count, side, _ = blocks.shape
    rows = weight.flatten(1).T
    if count * side != len(rows):
        raise ValueError("blocks for another number of inputs")
    half = blocks.float() / 2
    for stage, turn in enumerate(cayley(half.mT - half)):
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


def _feedforward(config: Mapping[str, Any], module: str, where: str) -> bool:
    """Whether the config lists a module, by the end of its name, as feed-forward."""
    listed = setting_of(config, module, "feedforward_modules") or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        what = "its feedforward_modules are no list of names"
        raise UserError(what, where=where, fix="write the layers' names into its adapter_config.json")
    return any(module.endswith(name) for name in listed if name)
