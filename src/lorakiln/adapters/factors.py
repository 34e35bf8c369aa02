"""LyCORIS' kinds of layers as LoRAs that change the weight by the same: sums of products written as one product.

    kind             tensors                                          change of the weight                     rank
    LoCon, Tucker    lora_up, lora_mid, lora_down                     mid, its modes multiplied by both       r
    LoHa             hada_w1_a, _w1_b, _w2_a, _w2_b, (_t1, _t2)       (w1_a w1_b) * (w2_a w2_b) by element    r1 r2
    LoKr             lokr_w1 | _w1_a, _w1_b, lokr_w2 | _w2_a, _w2_b   w1 (x) w2, the Kronecker product        r1 r2
    full difference  diff                                             diff                                    full

The scale is alpha / r, with LoKr 1 if neither factor is itself a product, and always 1 for a full difference. Nothing
is approximated here: what the rank is too high for is written as the change itself, times the identity.
Sources: LyCORIS (arXiv 2309.14859), its modules loha.py, lokr.py, full.py and functional/general.py.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Layer
from lorakiln.lora_files.checks import FIX, number, weights

LOCON, LOHA, LOKR, FULL = "LoCon (Tucker)", "LoHa", "LoKr", "full difference"
# What tells a kind, and what may go with it.
ENDINGS = {
    LOCON: ({"lora_up.weight", "lora_mid.weight", "lora_down.weight"}, {"alpha"}),
    LOHA: ({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}, {"hada_t1", "hada_t2", "alpha"}),
    LOKR: (set(), {"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "alpha"}),
    FULL: ({"diff"}, set()),
}
# Those whose rank is the weight's own, so that cutting them down is a decision.
FULL_RANK = (LOKR, FULL)
_THREE = ("conv1", "conv2", "conv", "conv_in", "conv_out")  # 3 x 3 in Stable Diffusion's UNets


def kind_of(endings: set[str]) -> str | None:
    """The kind of layer that has these tensors, or None."""
    if any(ending.startswith("lokr_") for ending in endings):
        return LOKR
    return next((kind for kind, (needed, _) in ENDINGS.items() if needed and needed <= endings), None)


def layer_of_kind(kind: str, tensors: Mapping[str, Tensor], module: str, where: str) -> Layer:
    """The LoRA that does what a layer of another kind does.

    Args:
        tensors: of this layer, by their endings (`ENDINGS`).
        module: its canonical name, which tells a convolution's kernel where it is stored flat.
        where: the file and the layer.

    Raises:
        UserError: a tensor is missing, or they do not fit each other.
    """
    make = {LOCON: _locon, LOHA: _loha, LOKR: _lokr, FULL: _full}[kind]
    sound = {
        ending: weights(tensor, f"{where}, {ending}", (2, 4)).float()
        for ending, tensor in tensors.items()
        if ending != "alpha"
    }
    alpha = number(tensors["alpha"], f"{where}, alpha") if "alpha" in tensors else None
    try:
        up, down, scale = make(sound, alpha, module)
    except KeyError as error:
        raise UserError(f"{error.args[0]} is missing of a {kind} layer", where=where, fix=FIX) from error
    except (RuntimeError, ValueError) as error:
        shapes = ", ".join(f"{name} {'x'.join(map(str, one.shape))}" for name, one in sorted(sound.items()))
        raise UserError(f"no {kind} layer: its shapes do not fit ({shapes})", where=where, fix=FIX) from error
    return _layer(up, down, scale)


def from_difference(delta: Tensor) -> Layer:
    """The LoRA that changes a weight by `delta`, (out, in) or (out, in, k, k), exactly."""
    return _layer(*_shortest(delta), 1.0)


def _layer(up: Tensor, down: Tensor, scale: float) -> Layer:
    """Of (out, r) and (r, in) or (r, in, k, k)."""
    up = up[..., None, None] if down.ndim == 4 else up
    return Layer(down.contiguous(), up.contiguous(), scale * down.shape[0])


def _locon(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    up, mid, down = given["lora_up.weight"], given["lora_mid.weight"], given["lora_down.weight"]
    down = _matrix(down)
    return *_fitting(_matrix(up), torch.einsum("mnkl,nj->mjkl", mid, down)), _scale(alpha, down.shape[0])


def _loha(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    factors = []
    for which in "12":
        one, two = given[f"hada_w{which}_a"], given[f"hada_w{which}_b"]
        core = given.get(f"hada_t{which}")
        factors.append(_fitting(one, two) if core is None else _tucker(core, one, two))
    (up_1, down_1), (up_2, down_2) = factors
    if up_1.shape[1] * up_2.shape[1] > min(up_1.shape[0], down_1[0].numel()):
        up, down = _shortest(_product(up_1, down_1) * _product(up_2, down_2))
    else:
        # (a b) * (c d) by element, at (o, i), is the sum over all pairs (r, s) of a_or c_os times b_ri d_si.
        up = (up_1[:, :, None] * up_2[:, None, :]).flatten(1)
        down = (down_1[:, None] * down_2[None, :]).flatten(0, 1)
    return up, _kernelled(down, module), _scale(alpha, given["hada_w1_b"].shape[0])


def _lokr(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
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
        up, down = _shortest(torch.kron(_product(up_1, down_1), _product(up_2, down_2).flatten(1)))
    else:
        # (a b) (x) (c d) = (a (x) c) (b (x) d)
        up, down = torch.kron(up_1, up_2), torch.kron(down_1, down_2.flatten(1))
    # The kernel's places, if any, are the last of the second factor's columns.
    down = down.reshape(down.shape[0], -1, *kernel) if kernel else down
    return up, _kernelled(down, module), _scale(alpha, ranks.pop()) if ranks else 1.0


def _full(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    return *_shortest(given["diff"]), 1.0


def _scale(alpha: float | None, rank: int) -> float:
    return 1.0 if alpha is None else alpha / rank


def _fitting(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Both, (out, r) and (r, ...); ValueError if their ranks differ."""
    if up.ndim != 2 or up.shape[1] != down.shape[0]:
        raise ValueError("two ranks")
    return up, down


def _product(up: Tensor, down: Tensor) -> Tensor:
    """(out, r) times (r, ...)."""
    return (up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def _matrix(factor: Tensor) -> Tensor:
    """(a, b) of (a, b) or (a, b, 1, 1); RuntimeError for a larger kernel."""
    return factor.reshape(factor.shape[0], factor.shape[1])


def _tucker(core: Tensor, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """(out, r), (r, in, k, k) of a core (r, s, k, k) with its modes' factors (r, out) and (s, in)."""
    if one.ndim != 2:
        raise ValueError("a factor of a mode is a matrix")
    return one.T.contiguous(), torch.einsum("rskl,si->rikl", core, two).contiguous()


def _factors(given: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """up (p, r), down (r, q) or (r, q, k, k) of one of LoKr's two factors, which may be a product itself."""
    if name in given:
        return _shortest(given[name])
    one, two, core = given[f"{name}_a"], given[f"{name}_b"], given.get(name.replace("_w", "_t"))
    return _fitting(one, two) if core is None else _tucker(core, one, two)


def _shortest(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight` as up (out, r) times down (r, ...), one of them the identity, r the shorter of its sides."""
    out, into = weight.shape[0], weight[0].numel()
    if out <= into:
        return torch.eye(out), weight
    return weight.flatten(1), torch.eye(into).reshape(into, *weight.shape[1:])


def _kernelled(down: Tensor, module: str) -> Tensor:
    """(r, in, k, k) of (r, in k k) where the module is a convolution by its name; else as it is."""
    last = module.rpartition(".")[2]
    if down.ndim == 4 or last not in (*_THREE, "conv_shortcut"):
        return down
    side = 3 if last in _THREE else 1
    return down.reshape(down.shape[0], -1, side, side)
