"""LoKr (LyCORIS, peft): the Kronecker product of two matrices, each of which may be a product itself; see `factors`."""

from collections.abc import Mapping, Set

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.factors import (
    check_ranks,
    compute_scale,
    expand_tucker,
    factor_shortest,
    make_layer,
    multiply,
    scale_by_config,
    to_kernel,
)
from lorakiln.adapters.protocol import Endings, Form, Stored

TITLE = "LoKr"
FULL_RANK, RELATIVE = True, False
_OWN = {"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"}
ENDINGS: Mapping[Form, Endings] = {"kohya": Endings(_OWN, {"alpha"}), "dotted": Endings(_OWN)}


def claim(tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
    """Any of them is one's: which are missing is told."""
    return ENDINGS[form].all & tensors.keys() if any(name.startswith("lokr_") for name in tensors) else frozenset()


def read(stored: Stored) -> Layer:
    layer = make_layer(TITLE, _make, stored)
    if stored.form == "kohya":
        return layer
    rank = next((len(stored.tensors[name]) for name in ("lokr_w1_b", "lokr_w2_b") if name in stored.tensors), None)
    return scale_by_config(layer, rank, stored)


def _make(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    ranks = {given[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in given}
    if len(ranks) > 1:
        raise ValueError("two ranks, and one alpha")
    up_1, down_1 = _factors(given, "lokr_w1")
    if down_1.ndim != 2:
        raise ValueError("the first factor is a matrix")
    up_2, down_2 = _factors(given, "lokr_w2")
    kernel = down_2.shape[2:]
    out, into = up_1.shape[0] * up_2.shape[0], down_1.shape[1] * down_2[0].numel()
    if up_1.shape[1] * up_2.shape[1] > min(out, into):
        up, down = factor_shortest(torch.kron(multiply(up_1, down_1), multiply(up_2, down_2).flatten(1)))
    else:
        # (a b) (x) (c d) = (a (x) c) (b (x) d)
        up, down = torch.kron(up_1, up_2), torch.kron(down_1, down_2.flatten(1))
    # The kernel's places, if any, are the last of the second factor's columns.
    down = down.reshape(down.shape[0], -1, *kernel) if kernel else down
    return up, to_kernel(down, module), compute_scale(alpha, ranks.pop()) if ranks else 1.0


def _factors(given: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """up (p, r), down (r, q) or (r, q, k, k) of one of LoKr's two factors, which may be a product itself."""
    if name in given:
        return factor_shortest(given[name])
    one, two, core = given[f"{name}_a"], given[f"{name}_b"], given.get(name.replace("_w", "_t"))
    return check_ranks(one, two) if core is None else expand_tucker(core, one, two)
