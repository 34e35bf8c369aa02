"""The frozen base's linear layers in fewer bits: y = dequant(W) x + b, and the adapter's part on top.

It saves memory, not time. What is stored is made into numbers of the base's precision for one layer's product at a
time, in the backward pass anew, so that the gradients are those of a network with the rounded weights. Inputs are
never rounded.

| kind | a weight is | scale |
|---|---|---|
| fp8 | an 8-bit float, e4m3 (arXiv 2209.05433) | of each row, whose largest is 448 |
| int8 | an integer from -127 to 127, as in LLM.int8() (arXiv 2208.07339) | of each row, whose largest is 127 |
| nf4 | one of QLoRA's 16 values (arXiv 2305.14314), by bitsandbytes | of 64 weights, whose largest is 1 |

QLoRA's second quantization, that of nf4's scales, is left out: it would save 0.4 of 4.5 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorakiln.console.errors import UserError
from lorakiln.libraries import import_bitsandbytes

SETTING = "train.trainer.quantize"
BLOCK = 64  # weights that share a scale in nf4


@dataclass(frozen=True)
class Storage:
    """How a weight is stored.

    Attributes:
        pack: the codes and the scales, float32, of a weight (out, in).
        unpack: the weight of such a shape and dtype that codes and scales stand for.
    """

    pack: Callable[[Tensor], tuple[Tensor, Tensor]]
    unpack: Callable[[Tensor, Tensor, torch.Size, torch.dtype], Tensor]


class QuantizedLinear(nn.Linear):
    """A frozen linear layer whose weight is stored in fewer bits.

    Adapters take it for the linear layer that it is: `weight` is what the stored codes stand for, made anew whenever it
    is read, and what is done to it is lost.

    Args:
        layer: whose weight is stored; its bias is kept.
        device: where the codes are to be.

    Attributes:
        dtype: that it computes in, the weight's own.
        codes, scales: see `Storage`.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear, kind: str, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.kind, self.dtype = kind, layer.weight.dtype
        codes, scales = STORAGES[kind].pack(layer.weight.detach().to(device))
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("scales", scales, persistent=False)
        self.register_parameter("bias", layer.bias)

    @property
    def weight(self) -> nn.Parameter:  # type: ignore[override] # torch's can be set
        """(out, in), in `dtype`."""
        return nn.Parameter(self.dequantize(self.dtype), requires_grad=False)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """The weight that the codes stand for, (out, in)."""
        return STORAGES[self.kind].unpack(
            self.codes, self.scales, torch.Size((self.out_features, self.in_features)), dtype
        )

    def forward(self, states: Tensor) -> Tensor:
        # A base in half precision computes under autocast, which would convert them too.
        product: Tensor = _Product.apply(states.to(self.dtype), self)
        return product

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.kind}"


class _Product(torch.autograd.Function):
    """W x + b. For its backward pass torch's own keeps W itself, and so all of the network's at once."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(states, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.dequantize(gradient.dtype), None


def quantize_layers(network: nn.Module, kind: str, device: torch.device) -> None:
    """Store the weights of a network's linear layers in fewer bits, in place, before an adapter is put on.

    Convolutions and norms stay as they are, and what embeds times and sizes: it is small, and all else depends on it.

    Args:
        network: frozen; may be elsewhere than on `device`, on which a layer comes alone.
        kind: of `STORAGES`.

    Raises:
        UserError: it has no such layers, or bitsandbytes, which nf4 needs, is not installed.
    """
    chosen = {
        name: module
        for name, module in network.named_modules()
        if type(module) is nn.Linear and "embedding" not in name
    }
    if not chosen:
        what = "this base has no linear layers whose weights could be stored in fewer bits"
        raise UserError(what, where=SETTING, fix=f"set {SETTING}=none")
    for name, layer in chosen.items():
        network.set_submodule(name, QuantizedLinear(layer, kind, device))


def check_quantize(kind: str) -> None:
    """Raise UserError if this machine cannot store a base so, before anything is loaded."""
    if kind == "nf4":
        import_bitsandbytes(f"{SETTING}=nf4")


def _pack_rows(weight: Tensor, dtype: torch.dtype, largest: float) -> tuple[Tensor, Tensor]:
    weight = weight.float()
    # A row of zeros has no scale of its own.
    scales = (weight.abs().amax(1, keepdim=True) / largest).clamp_min(torch.finfo(torch.float32).tiny)
    codes = weight / scales
    return (codes if dtype.is_floating_point else codes.round()).to(dtype), scales


def _unpack_rows(codes: Tensor, scales: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    # Codes are exact in half precision. In place: no second copy of the weight.
    return codes.to(dtype).mul_(scales)


def _pack_nf4(weight: Tensor) -> tuple[Tensor, Tensor]:
    if weight.is_meta:
        codes = torch.empty((weight.numel() + 1) // 2, 1, dtype=torch.uint8, device=weight.device)
        return codes, torch.empty(-(-weight.numel() // BLOCK), device=weight.device)
    library = import_bitsandbytes(f"{SETTING}=nf4").functional
    codes, state = library.quantize_4bit(weight.contiguous(), blocksize=BLOCK, quant_type="nf4")
    return codes, state.absmax


def _unpack_nf4(codes: Tensor, scales: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    if codes.is_meta:
        return torch.empty(shape, dtype=dtype, device=codes.device)
    library = import_bitsandbytes(f"{SETTING}=nf4").functional
    state = library.QuantState(scales, shape=shape, dtype=dtype, blocksize=BLOCK, quant_type="nf4")
    weight: Tensor = library.dequantize_4bit(codes, state)
    return weight.reshape(shape)  # a single byte of codes is given back transposed


STORAGES = {
    "fp8": Storage(lambda weight: _pack_rows(weight, torch.float8_e4m3fn, 448.0), _unpack_rows),
    "int8": Storage(lambda weight: _pack_rows(weight, torch.int8, 127.0), _unpack_rows),
    "nf4": Storage(_pack_nf4, _unpack_nf4),
}
