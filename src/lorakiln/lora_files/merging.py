"""A LoRA merged into a network's weights, as A1111 and ComfyUI apply it: drawing then costs what the base costs."""

import torch
from torch import Tensor, nn

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Adapter, Layer


class Merged:
    """A bare network and an adapter: W + weight * delta W in the network's own tensors.

    The base's weights are kept on the CPU, so that every weight starts from the same bits and 0 is the base itself.
    """

    def __init__(self, network: nn.Module, adapter: Adapter, part: str = "unet") -> None:
        """
        Raises:
            UserError: a layer of the adapter has no module in the network, or another shape.
        """
        modules = dict(network.named_modules())
        self._kept: list[tuple[Tensor, Tensor, Layer]] = []
        for name, layer in sorted(adapter.layers.items()):
            module = modules.get(name.removeprefix(f"{part}."))
            weight = getattr(module, "weight", None)
            if weight is None:
                fix = "use the base model that the LoRA was trained on"
                raise UserError(f"the LoRA adapts {name}, which the base model has not", fix=fix)
            if weight.numel() != layer.up.shape[0] * layer.down[0].numel() or weight.shape[0] != layer.up.shape[0]:
                fix = "use the base model that the LoRA was trained on"
                raise UserError(f"{name}: the LoRA was trained on another shape than {tuple(weight.shape)}", fix=fix)
            self._kept.append((weight, weight.detach().to("cpu", copy=True), layer))

    @torch.no_grad()
    def set_weight(self, weight: float) -> None:
        """Apply the LoRA at `weight`; 0 gives the base's weights bit for bit."""
        for present, base, layer in self._kept:
            if weight:
                changed = base.float() + weight * layer.delta().cpu().reshape(base.shape)
                present.copy_(changed.to(base.dtype))
            else:
                present.copy_(base)
