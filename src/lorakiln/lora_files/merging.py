"""A LoRA merged into a model's weights, as A1111 and ComfyUI apply it: drawing then costs what the base costs."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lorakiln.adapters.adapter import Adapter, Change
from lorakiln.adapters.networks import list_weights
from lorakiln.console.errors import UserError
from lorakiln.families.layer_names import to_canonical_name
from lorakiln.families.shapes import is_same_matrix


class Merged:
    """Bare networks and adapters: W + the sum of weight * delta W in the networks' own tensors.

    The base's weights are kept on the CPU, so that every weight starts from the same bits and 0 is the base itself.

    Args:
        networks: by the part's name in the adapters' layers: the network's, "text_encoder", ...

    Raises:
        UserError: a layer of an adapter has no module in its network, or another shape.
    """

    def __init__(self, networks: Mapping[str, nn.Module], *adapters: Adapter) -> None:
        found = list_weights(networks)
        self._base: dict[str, tuple[Tensor, Tensor]] = {}
        self._layers: list[dict[str, Change]] = []
        for adapter in adapters:
            layers = {to_canonical_name(name): layer for name, layer in adapter.changes.items()}
            for name, weight in _find_weights(found, layers).items():
                if name not in self._base:
                    self._base[name] = weight, weight.detach().to("cpu", copy=True)
            self._layers.append(layers)

    @torch.no_grad()
    def set_weights(self, *weights: float) -> None:
        """Apply the adapters, in their order, at `weights`; all 0 gives the base's weights bit for bit."""
        for name, (present, base) in self._base.items():
            parts = [
                (weight, layers[name])
                for weight, layers in zip(weights, self._layers, strict=True)
                if weight and name in layers
            ]
            if not parts:
                present.copy_(base)
                continue
            changed = whole = base.float()
            for weight, layer in parts:
                changed = changed + weight * layer.change_of(whole).cpu()
            present.copy_(changed.to(base.dtype))


def check_fits(networks: Mapping[str, nn.Module], adapter: Adapter, file: Path) -> None:
    """Refuse an adapter of another base by its file, before its numbers are asked for.

    Args:
        networks: see `Merged`; they may be on torch's meta device.

    Raises:
        UserError: as `Merged` does, which knows no files.
    """
    layers = {to_canonical_name(name): layer for name, layer in adapter.changes.items()}
    try:
        _find_weights(list_weights(networks), layers)
    except UserError as error:
        raise UserError(error.what, where=file, fix=error.fix) from error


def _find_weights(found: Mapping[str, Tensor], layers: Mapping[str, Change]) -> dict[str, Tensor]:
    """What each layer changes, by name."""
    return {name: _fitting(found.get(name), layer, name) for name, layer in sorted(layers.items())}


def _fitting(weight: Tensor | None, layer: Change, name: str) -> Tensor:
    fix = "use the base model that the LoRA was trained on"
    if weight is None:
        raise UserError(f"the LoRA adapts {name}, which the base model has not", fix=fix)
    # Of some relative layers the shape shows in their change.
    if layer.shape and not is_same_matrix(weight.shape, layer.shape):
        raise UserError(f"{name}: the LoRA was trained on another shape than {tuple(weight.shape)}", fix=fix)
    return weight
