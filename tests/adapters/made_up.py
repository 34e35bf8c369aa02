"""Two kinds of adapters that nobody has, as another package would add them.

row scaling   W' = (1 + d) W, d a number for each output        the change depends on the weight
tanh          W' = W + (alpha / rank) tanh(up down)             it does not, and is of no low rank
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lorakiln.adapters.adapter import Change, Layer
from lorakiln.adapters.checks import to_number, to_weight
from lorakiln.adapters.lycoris_to_lora import make_from_difference
from lorakiln.adapters.protocol import Endings
from lorakiln.console.errors import UserError
from lorakiln.schema.adapters import AdapterSettings


class ScalingSettings(AdapterSettings):
    kind: Literal["row_scaling"] = "row_scaling"


class TanhSettings(AdapterSettings):
    kind: Literal["tanh"] = "tanh"
    slope: float = 1.0


@dataclass(frozen=True)
class Rows(Change):
    kind: ClassVar[str] = "row scaling"
    rank: ClassVar[None] = None
    alpha: ClassVar[None] = None
    shape: ClassVar[None] = None
    rows: Tensor

    @property
    def numbers(self):
        return {"rows": self.rows}

    @property
    def dtype(self):
        return self.rows.dtype

    @property
    def parameters(self):
        return self.rows.numel()

    def change_of(self, weight):
        if len(self.rows) != len(weight):
            raise UserError("rows for another number of outputs")
        return self.rows.float().reshape(-1, *[1] * (weight.ndim - 1)) * weight.float()


@dataclass(frozen=True)
class Curved(Change):
    kind: ClassVar[str] = "tanh"
    down: Tensor
    up: Tensor
    alpha: float

    @property
    def numbers(self):
        return {"tanh_down": self.down, "tanh_up": self.up}

    @property
    def rank(self):
        return len(self.down)

    @property
    def shape(self):
        return (len(self.up), *self.down.shape[1:])

    @property
    def dtype(self):
        return self.down.dtype

    @property
    def parameters(self):
        return self.down.numel() + self.up.numel()

    def change_of(self, weight):
        curved = torch.tanh(self.up.float() @ self.down.float().flatten(1))
        return (self.alpha / self.rank * curved).reshape(weight.shape)

    def low_rank(self) -> Layer:
        return make_from_difference(self.change_of(torch.empty(self.shape)))


class _On(nn.Module):
    """A module's weight with the adapter in it."""

    def __init__(self, **numbers):
        super().__init__()
        self.more = {name: value for name, value in numbers.items() if not isinstance(value, Tensor)}
        for name, value in numbers.items():
            if isinstance(value, Tensor):
                self.register_parameter(name, nn.Parameter(value))

    def forward(self, weight):
        return (weight.float() + self.layer().change_of(weight)).to(weight.dtype)

    def layer(self):
        return self.made(**self.more, **dict(self.named_parameters()))


class _Kind:
    """What both have in common."""

    FULL_RANK = False

    def claim(self, tensors, form):
        return self.ENDINGS[form].whole(tensors)

    def put_on(self, network, modules, settings, seed):
        network.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        for name in sorted(modules):
            module = network.get_submodule(name)
            on = self.On(**self.fresh(module.weight, settings, generator))
            parametrize.register_parametrization(module, "weight", on)

    def layers_on(self, network):
        return {
            name: module
            for name, module in network.named_modules()
            if parametrize.is_parametrized(module, "weight") and isinstance(module.parametrizations.weight[0], self.On)
        }

    def _on(self, network):
        return {name: module.parametrizations.weight[0] for name, module in self.layers_on(network).items()}

    def read_from(self, network):
        found = {}
        for name, on in self._on(network).items():
            copies = {key: value.detach().to("cpu", torch.float32, copy=True) for key, value in on.named_parameters()}
            found[name] = replace(on.layer(), **copies)
        return found

    def write_to(self, network, layers):
        there = self._on(network)
        if set(there) != set(layers):
            raise UserError(f"the {self.TITLE}'s modules differ from the network's")
        with torch.no_grad():
            for name, on in there.items():
                for key, parameter in on.named_parameters():
                    parameter.copy_(getattr(layers[name], key))

    def start_from(self, begun, fresh, settings):
        if other := {layer.kind for layer in begun.layers.values()} - {self.TITLE}:
            raise UserError(f"its layers are {', '.join(other)}, no {self.TITLE}", where=settings.init_from)
        return {name: begun.layers.get(name, layer) for name, layer in fresh.items()}

    def compute_squared_norms(self, network):
        return {
            name: on.layer().change_of(on.base(module)).square().sum()
            for (name, on), module in zip(self._on(network).items(), self.layers_on(network).values(), strict=True)
        }

    def prepare_for_autocast(self, network):
        pass

    def cast(self, layer, dtype, where):
        numbers = {name: value.to(dtype) for name, value in vars(layer).items() if isinstance(value, Tensor)}
        return replace(layer, **numbers), 0.0

    def config(self, layers):
        return {}

    def metadata(self, facts, settings):
        return {"ss_network_module": f"made_up.{type(self).__name__.lower()}", "ss_network_args": {"algo": self.TITLE}}


class _RowsOn(_On):
    made = Rows

    def base(self, module):
        return module.parametrizations.weight.original


class RowScaling(_Kind):
    TITLE = "row scaling"
    RELATIVE = True
    ENDINGS = dict.fromkeys(("kohya", "dotted"), Endings({"rows"}))
    On = _RowsOn

    def fresh(self, weight, settings, generator):
        return {"rows": torch.zeros(len(weight))}

    def read(self, stored):
        return Rows(to_weight(stored.tensors["rows"], stored.where, (1,)))

    def scale(self, layer, strength):
        return replace(layer, rows=layer.rows * strength)

    def tensors(self, layer, form):
        return layer.numbers


class _CurvedOn(_On):
    made = Curved
    base = _RowsOn.base


class Tanh(_Kind):
    TITLE = "tanh"
    RELATIVE = False
    ENDINGS = dict.fromkeys(("kohya", "dotted"), Endings({"tanh_down", "tanh_up", "tanh_alpha"}))
    On = _CurvedOn

    def fresh(self, weight, settings, generator):
        down = settings.slope * torch.randn(settings.rank, *weight.shape[1:], generator=generator)
        return {"down": down, "up": torch.zeros(len(weight), settings.rank), "alpha": settings.alpha}

    def read(self, stored):
        down, up = (to_weight(stored.tensors[f"tanh_{side}"], stored.where) for side in ("down", "up"))
        return Curved(down, up, to_number(stored.tensors["tanh_alpha"], stored.where))

    def scale(self, layer, strength):
        return replace(layer, alpha=layer.alpha * strength)

    def tensors(self, layer, form):
        return {**layer.numbers, "tanh_alpha": torch.tensor(layer.alpha)}
