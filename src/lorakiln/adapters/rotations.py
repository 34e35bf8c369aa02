"""What OFT and BOFT have in common: the base's weight turned by orthogonal matrices R, which Cayley's transform makes
of skew ones Q.

    R = (I + Q) (I - Q)^-1,  Q = B - B^T, B the blocks in the file

    kind   blocks           weight, in LyCORIS' and sd-scripts' files, which turn the outputs
    OFT    (n, b, b)        block by block of b outputs, R^T W
    BOFT   (m, n, b, b)     R_m ... R_1 W, each in blocks of b outputs that are 2^i b / 2 apart in the i-th, i from 0

A `rescale` (out) then multiplies the outputs. `alpha` is COFT's constraint, ||Q|| <= alpha * out over all blocks:
LyCORIS means none by 0, sd-scripts' networks/oft.py (names in oft_unet_) by no alpha at all.
This is what is trained, from blocks that are 0: LyCORIS', A1111 and ComfyUI read it.
Sources: arXiv 2306.07280, 2311.06243; sd-scripts, networks/oft.py; LyCORIS, functional/diag_oft.py, boft.py.
"""

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Change
from lorakiln.adapters.checks import FIX
from lorakiln.adapters.formula import Fixed, FormulaKind, FormulaLayer, Tensors
from lorakiln.adapters.formula_tensors import read_tensors
from lorakiln.adapters.protocol import Endings, Stored
from lorakiln.console.errors import UserError

OUTPUTS = Endings({"oft_blocks"}, {"rescale", "alpha"})
BY_KOHYA = "oft_unet_"  # what the names of sd-scripts' layers begin with
_TINY = 1e-8  # in both programs' division by the norm


class Rotation(FormulaKind):
    """What both kinds share; peft's files of them, which turn the inputs, are read and not trained."""

    FULL_RANK, RELATIVE, SCALED = False, True, False
    # Near 1, so that half precision's rounding would be larger than most changes.
    KEPT = frozenset({"rescale"})

    @abstractmethod
    def turned(self, turns: Tensor, rows: Tensor) -> Tensor:
        """The weight (out, in), turned by rotations (..., b, b)."""

    @abstractmethod
    def block_shape(self, outputs: int, settings: Any, module: str) -> tuple[int, ...]:
        """Of the blocks for a weight with so many outputs; UserError if there are none of these settings."""

    @abstractmethod
    def read_inputs(self, stored: Stored) -> Change:
        """The layer of peft's tensors."""

    def read(self, stored: Stored) -> Change:
        return self._of_outputs(stored) if "oft_blocks" in stored.tensors else self.read_inputs(stored)

    def _of_outputs(self, stored: Stored) -> FormulaLayer:
        tensors, fixed = read_tensors(stored, {"oft_blocks": (3, 4), "rescale": (1, 2, 3, 4)})
        check_square(tensors["oft_blocks"], stored.where)
        if "alpha" in fixed and stored.written_by == BY_KOHYA:
            # To sd-scripts 0 is a constraint too, under which nothing is turned.
            fixed = {"alpha": max(fixed["alpha"], _TINY**2)}
        return FormulaLayer(self, tensors, fixed, stored.where, stored.module)

    def change(self, tensors: Tensors, fixed: Fixed, weight: Tensor) -> Tensor:
        blocks, rescale, limit = tensors["oft_blocks"], tensors.get("rescale"), fixed.get("alpha", 0.0) * len(weight)
        if blocks.shape[-3] * blocks.shape[-1] != len(weight):
            raise ValueError("blocks for another number of outputs")
        skew = blocks - blocks.mT
        if limit > 0:
            norm = skew.norm()
            skew = skew * ((norm.clamp(max=limit) + _TINY) / (norm + _TINY))
        rows = self.turned(compute_cayley(skew), weight.flatten(1))
        if rescale is not None:
            if rescale.numel() != len(weight):
                raise ValueError("a scale for another number of outputs")
            rows = rows * rescale.flatten()[:, None]
        return rows.reshape(weight.shape) - weight

    def make(self, weight: Tensor, module: str, settings: Any, generator: torch.Generator) -> FormulaLayer:
        tensors = {"oft_blocks": torch.zeros(self.block_shape(len(weight), settings, module))}
        if settings.rescale:
            tensors["rescale"] = torch.ones(len(weight), *[1] * (weight.ndim - 1))
        return FormulaLayer(self, tensors, {"alpha": settings.constraint}, module=module)

    def widen(self, given: FormulaLayer, fresh: FormulaLayer) -> FormulaLayer | None:
        # The constraint decides what the file's blocks do.
        return replace(given, fixed=given.fixed or {"alpha": 0.0}) if super().widen(given, fresh) else None

    def config(self, layers: Any) -> dict[str, Any]:
        """peft has no such rotations: what there is to say is in the tensors."""
        return {}

    def arguments(self, settings: Any) -> dict[str, Any]:
        given = {"constraint": settings.constraint} if settings.constraint else {}
        return given | ({"rescaled": True} if settings.rescale else {})


def check_square(blocks: Tensor, where: str) -> Tensor:
    """`blocks`; UserError if they are not square."""
    if blocks.shape[-1] != blocks.shape[-2]:
        sides = f"{blocks.shape[-2]}x{blocks.shape[-1]}"
        raise UserError(f"its blocks are {sides}, and those of a rotation are square", where=where, fix=FIX)
    return blocks


def compute_cayley(skew: Tensor) -> Tensor:
    """(I + Q) (I - Q)^-1 of skew matrices (..., b, b)."""
    identity = torch.eye(skew.shape[-1], device=skew.device)
    turned: Tensor = torch.linalg.solve(identity - skew, identity + skew, left=False)
    return turned
