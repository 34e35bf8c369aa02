"""What a linear layer with LoRA computes, in fewer operations than peft's own layer.

    y = W x + b + s B A x

With u = A x and g the gradient of y: that of x is W^T g + A^T v with v = s B^T g, that of A is v x^T, that of B is
s g u^T. Every sum is made where its first part lies, nothing of the output's size is multiplied by s, and x and u alone
are kept. peft makes s B A x by itself, scales it and adds it, in three tensors as large as y, and so on the way back.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lorakiln.adapters.lora_initialisation import NAME


class LoraLinear(Linear):
    """peft's linear layer with LoRA, under its names. What is more than one pair of factors in the base's own precision
    is computed by peft: dropouts, further adapters, autocast. So is all on a GPU, which has not measured this.
    """

    def forward(self, x: Tensor, *args: Any, **given: Any) -> Tensor:
        layers: tuple[Any, ...] = self.base_layer, self.lora_A[NAME], self.lora_B[NAME]
        base, down, up = layers
        if args or given or not self._is_plain(*layers) or not _suits(x, base.weight, down.weight, up.weight):
            found: Tensor = super().forward(x, *args, **given)
            return found
        product: Tensor = _LoraProduct.apply(x, base.weight, base.bias, down.weight, up.weight, self.scaling[NAME])
        return product

    def _is_plain(self, *layers: nn.Module) -> bool:
        """Whether the one pair counts, and all there is are the layers' own products."""
        return (
            self._active_adapter in (NAME, [NAME])
            and not self._disable_adapters
            and not self.merged_adapters
            and not any(one._forward_hooks or one._forward_pre_hooks or "forward" in one.__dict__ for one in layers)
        )


def multiply_at_once(layer: Any) -> None:
    """Let a layer of peft's compute as `LoraLinear`, in place, if it is on torch's linear layer and has no dropout."""
    base = layer.get_base_layer()
    if (
        type(layer) is Linear
        and type(base) is nn.Linear
        and NAME not in layer.lora_variant
        and isinstance(layer.lora_dropout[NAME], nn.Identity)
    ):
        layer.__class__ = LoraLinear


def _suits(x: Tensor, *weights: Tensor) -> bool:
    """Whether all are on a CPU and of one precision, and autocast changes none."""
    return (
        x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and all(weight.device == x.device and weight.dtype == x.dtype for weight in weights)
    )


class _LoraProduct(torch.autograd.Function):
    """x (..., in), W (out, in), b (out,) or None, A (rank, in), B (out, rank), s -> y (..., out); W, b are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ down.T
        found = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        found.addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.scale, ctx.shape = scale, x.shape
        return found.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        gradient = gradient.reshape(-1, len(weight))
        of_x = of_down = of_up = None
        of_low = (gradient @ up).mul_(ctx.scale)
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ weight).addmm_(of_low, down).view(ctx.shape)
        if ctx.needs_input_grad[3]:
            of_down = of_low.T @ rows
        if ctx.needs_input_grad[4]:
            of_up = (gradient.T @ low).mul_(ctx.scale)
        return of_x, None, None, of_down, of_up, None
