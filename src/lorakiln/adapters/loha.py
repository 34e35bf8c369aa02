"""LoHa (LyCORIS, peft): the product by elements of two low-rank matrices; see `factors`."""

from collections.abc import Mapping, Set

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

TITLE = "LoHa"
FULL_RANK, RELATIVE = False, False
_NEEDED = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
_CORES = {"hada_t1", "hada_t2"}
ENDINGS: Mapping[Form, Endings] = {"kohya": Endings(_NEEDED, _CORES | {"alpha"}), "dotted": Endings(_NEEDED, _CORES)}


def claim(tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
    return ENDINGS[form].whole(tensors)


def read(stored: Stored) -> Layer:
    layer = make_layer(TITLE, _make, stored)
    return layer if stored.form == "kohya" else scale_by_config(layer, len(stored.tensors["hada_w1_b"]), stored)


def _make(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    factors = []
    for which in "12":
        one, two = given[f"hada_w{which}_a"], given[f"hada_w{which}_b"]
        core = given.get(f"hada_t{which}")
        factors.append(check_ranks(one, two) if core is None else expand_tucker(core, one, two))
    (up_1, down_1), (up_2, down_2) = factors
    if up_1.shape[1] * up_2.shape[1] > min(up_1.shape[0], down_1[0].numel()):
        up, down = factor_shortest(multiply(up_1, down_1) * multiply(up_2, down_2))
    else:
        # (a b) * (c d) by element, at (o, i), is the sum over all pairs (r, s) of a_or c_os times b_ri d_si.
        up = (up_1[:, :, None] * up_2[:, None, :]).flatten(1)
        down = (down_1[:, None] * down_2[None, :]).flatten(0, 1)
    return up, to_kernel(down, module), compute_scale(alpha, given["hada_w1_b"].shape[0])
