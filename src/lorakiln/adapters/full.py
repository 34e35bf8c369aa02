"""A full difference (LyCORIS, module full): the change itself, of the weight's own rank."""

from collections.abc import Mapping, Set

from torch import Tensor

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.lycoris_to_lora import factor_shortest, make_layer
from lorakiln.adapters.protocol import Endings, Form, Stored

TITLE = "full difference"
FULL_RANK, RELATIVE = True, False
ENDINGS: Mapping[Form, Endings] = dict.fromkeys(("kohya", "dotted"), Endings({"diff"}))


def claim(tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
    return ENDINGS[form].whole(tensors)


def read(stored: Stored) -> Layer:
    return make_layer(TITLE, _make, stored)


def _make(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    return *factor_shortest(given["diff"]), 1.0
