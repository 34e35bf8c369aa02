"""LyCORIS' kinds as LoRAs that change the weight by the same: sums of products written as one product.

    kind             tensors                                          change of the weight                     rank
    LoCon, Tucker    lora_up, lora_mid, lora_down                     mid, its modes multiplied by both       r
    LoHa             hada_w1_a, _w1_b, _w2_a, _w2_b, (_t1, _t2)       (w1_a w1_b) * (w2_a w2_b) by element    r1 r2
    LoKr             lokr_w1 | _w1_a, _w1_b, lokr_w2 | _w2_a, _w2_b   w1 (x) w2, the Kronecker product        r1 r2
    full difference  diff                                             diff                                    full

The scale is alpha / r, with LoKr 1 if neither factor is itself a product, and always 1 for a full difference. Nothing
is approximated here: what the rank is too high for is written as the change itself, times the identity. peft's LoHa and
LoKr are the same but for the scale, which is the config's alpha / r, always.
Sources: LyCORIS (arXiv 2309.14859), its modules loha.py, lokr.py, full.py and functional/general.py; peft,
tuners/loha, lokr: layer.py.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.checks import FIX, to_number, to_weight
from lorakiln.adapters.peft_config import find_entry
from lorakiln.adapters.protocol import Stored
from lorakiln.console.errors import UserError

_THREE = ("conv1", "conv2", "conv", "conv_in", "conv_out")  # 3 x 3 in Stable Diffusion's UNets
# (tensors but alpha, alpha, module) -> up, down, scale; KeyError for one that is missing, RuntimeError or ValueError
# where they do not fit each other.
Make = Callable[[Mapping[str, Tensor], float | None, str], tuple[Tensor, Tensor, float]]


def make_layer(title: str, make: Make, stored: Stored) -> Layer:
    """The LoRA that does what a layer of another kind does.

    Args:
        title: of that kind.
        stored: its module tells a convolution's kernel where it is stored flat.

    Raises:
        UserError: a tensor is missing, or they do not fit each other.
    """
    where = stored.where
    sound = {
        ending: to_weight(tensor, f"{where}, {ending}", (2, 4))
        for ending, tensor in stored.tensors.items()
        if ending != "alpha"
    }
    given = stored.tensors.get("alpha")
    alpha = None if given is None else to_number(given, f"{where}, alpha")
    return make_sound_layer(title, make, sound, alpha, stored.module, where)


def make_sound_layer(
    title: str, make: Make, tensors: Mapping[str, Tensor], alpha: float | None, module: str, where: str
) -> Layer:
    """As `make_layer`, of tensors that are weights.

    Raises:
        UserError: a tensor is missing, or they do not fit each other.
    """
    sound = {ending: tensor.float() for ending, tensor in tensors.items()}
    try:
        up, down, scale = make(sound, alpha, module)
    except KeyError as error:
        raise UserError(f"{error.args[0]} is missing of a {title} layer", where=where, fix=FIX) from error
    except (RuntimeError, ValueError) as error:
        shapes = ", ".join(f"{name} {'x'.join(map(str, one.shape))}" for name, one in sorted(sound.items()))
        raise UserError(f"no {title} layer: its shapes do not fit ({shapes})", where=where, fix=FIX) from error
    return _layer(up, down, scale)


def find_scale(rank: int | None, stored: Stored) -> float:
    """The scale of a layer of peft's, alpha / rank by its config.

    Args:
        rank: as its tensors show it; None: the config's.

    Raises:
        UserError: the config holds something else than names and numbers.
    """
    config, module, where = stored.config, stored.module, stored.where
    divisor = find_entry(config, module, "r", "rank_pattern", 1, where) if rank is None else rank
    if not divisor > 0:
        raise UserError(f"its rank is {divisor:g} by its config", where=where, fix=FIX)
    return find_entry(config, module, "alpha", "alpha_pattern", divisor, where) / divisor


def make_from_difference(delta: Tensor) -> Layer:
    """The LoRA that changes a weight by `delta`, (out, in) or (out, in, k, k), exactly."""
    return _layer(*factor_shortest(delta), 1.0)


def _layer(up: Tensor, down: Tensor, scale: float) -> Layer:
    """Of (out, r) and (r, in) or (r, in, k, k)."""
    up = up[..., None, None] if down.ndim == 4 else up
    return Layer(down.contiguous(), up.contiguous(), scale * down.shape[0])


def compute_scale(alpha: float | None, rank: int) -> float:
    """alpha / rank; 1 without an alpha."""
    return 1.0 if alpha is None else alpha / rank


def check_ranks(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Both, (out, r) and (r, ...); ValueError if their ranks differ."""
    if up.ndim != 2 or up.shape[1] != down.shape[0]:
        raise ValueError("two ranks")
    return up, down


def multiply(up: Tensor, down: Tensor) -> Tensor:
    """(out, r) times (r, ...)."""
    return (up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def to_matrix(factor: Tensor) -> Tensor:
    """(a, b) of (a, b) or (a, b, 1, 1); RuntimeError for a larger kernel."""
    return factor.reshape(factor.shape[0], factor.shape[1])


def expand_tucker(core: Tensor, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """(out, r), (r, in, k, k) of a core (r, s, k, k) with its modes' factors (r, out) and (s, in)."""
    if one.ndim != 2:
        raise ValueError("a factor of a mode is a matrix")
    return one.T.contiguous(), torch.einsum("rskl,si->rikl", core, two).contiguous()


def factor_shortest(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight` as up (out, r) times down (r, ...), one of them the identity, r the shorter of its sides."""
    out, into = weight.shape[0], weight[0].numel()
    if out <= into:
        return torch.eye(out), weight
    return weight.flatten(1), torch.eye(into).reshape(into, *weight.shape[1:])


def to_kernel(down: Tensor, module: str) -> Tensor:
    """(r, in, k, k) of (r, in k k) where the module is a convolution by its name; else as it is."""
    last = module.rpartition(".")[2]
    if down.ndim == 4 or last not in (*_THREE, "conv_shortcut"):
        return down
    side = 3 if last in _THREE else 1
    return down.reshape(down.shape[0], -1, side, side)
