"""LoCon with Tucker's decomposition (LyCORIS): a convolution's low-rank update with a core between the factors.

dW = (alpha / r) mid x_1 up x_2 down
"""

from collections.abc import Mapping, Set

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.lycoris_to_lora import check_ranks, compute_scale, make_layer, to_matrix
from lorakiln.adapters.protocol import Endings, Form, Stored

TITLE = "LoCon (Tucker)"
FULL_RANK, RELATIVE = False, False
ENDINGS: Mapping[Form, Endings] = {
    "kohya": Endings({"lora_up.weight", "lora_mid.weight", "lora_down.weight"}, {"alpha"})
}


def claim(tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
    return ENDINGS[form].whole(tensors)


def read(stored: Stored) -> Layer:
    return make_layer(TITLE, _make, stored)


def _make(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    up, mid, down = given["lora_up.weight"], given["lora_mid.weight"], given["lora_down.weight"]
    down = to_matrix(down)
    return *check_ranks(to_matrix(up), torch.einsum("mnkl,nj->mjkl", mid, down)), compute_scale(alpha, down.shape[0])
