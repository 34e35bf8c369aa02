"""Kinds whose change of a weight is a formula of their tensors, trained as files are read: by that same formula.

A module keeps its weight, and its output gets what the change adds to it,

    y = module(x) + change(tensors, W) x

in which the change is computed in float32, whatever the base is in: added to a weight in half precision, most of a
small change would be rounded away.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorakiln.adapters.adapter import Change, Layer, Relative
from lorakiln.adapters.checks import describe_shapes, is_whole, list_shapes
from lorakiln.adapters.protocol import Endings, Form, StartingPoint, Stored
from lorakiln.console.errors import UserError
from lorakiln.facts.run import RunFacts
from lorakiln.families.autocast import leave_autocast
from lorakiln.schema.adapters import AdapterSettings

Tensors = Mapping[str, Tensor]
Fixed = Mapping[str, float]
CHILD = "adapter"  # what a module's adapter is called in it
LYCORIS = "lycoris.kohya"  # the network of sd-scripts that writes and reads these kinds


@dataclass(frozen=True)
class FormulaLayer(Change):
    """One module's tensors, by their endings in kohya's form.

    Attributes:
        owner: the kind, which has the formula.
        fixed: the numbers beside them that are not trained, in the same way: its alpha, if it has one.
        where: the file and the layer; "" of one in training.
        module: its name, which tells a convolution where its factors are stored flat; may be empty.
    """

    owner: "FormulaKind"
    tensors: Tensors
    fixed: Fixed = field(default_factory=dict)
    where: str = ""
    module: str = ""

    @property
    def kind(self) -> str:
        return self.owner.TITLE

    @property
    def rank(self) -> int | None:
        return self.owner.rank_of(self.tensors)

    @property
    def alpha(self) -> float | None:
        return self.fixed.get("alpha") if self.owner.SCALED else None

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.owner.shape_of(self)

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.tensors.values())).dtype

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())

    def change_of(self, weight: Tensor) -> Tensor:
        single = {name: tensor.float() for name, tensor in self.tensors.items()}
        # What does not fit, or is not finite, is told as of any other file's.
        relative = Relative(
            self.kind, lambda one: self.owner.change(single, self.fixed, one), self.where, 0, self.dtype
        )
        return relative.change_of(weight)

    def low_rank(self) -> Layer | None:
        return None if self.owner.RELATIVE else self.owner.to_lora(self)


class OnModule(nn.Module):
    """The adapter of one linear layer or convolution, a child of it."""

    def __init__(self, layer: FormulaLayer, settings: Any, device: torch.device) -> None:
        super().__init__()
        self.owner, self.fixed = layer.owner, layer.fixed
        self.module_dropout = settings.module_dropout
        self.rank_dropout = getattr(settings, "rank_dropout", 0.0)  # kinds without a rank have none
        for name, tensor in layer.tensors.items():
            self.register_parameter(_attribute(name), nn.Parameter(tensor.float().to(device)))
        self.names = {_attribute(name): name for name in layer.tensors}

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, attribute) for attribute, name in self.names.items()}

    def change(self, weight: Tensor) -> Tensor:
        """Of the module's weight, float32, in its shape."""
        with leave_autocast(weight.device.type):
            return self.owner.change(self.tensors(), self.fixed, weight.detach().float())

    def forward(self, x: Tensor, module: nn.Module) -> Tensor:
        """What the change of the module's weight adds to its output."""
        change = self._dropped(self.change(module.get_parameter("weight"))).to(x.dtype)
        if isinstance(module, nn.Conv2d):
            return F.conv2d(x, change, None, module.stride, module.padding, module.dilation, module.groups)
        return F.linear(x, change)

    def _dropped(self, change: Tensor) -> Tensor:
        """Less of it, while it trains; what is left of the outputs is larger, so that the mean stays."""
        if not self.training:
            return change
        if self.rank_dropout:
            kept = torch.rand(len(change), device=change.device) >= self.rank_dropout
            change = change * (kept / (1 - self.rank_dropout)).reshape(-1, *[1] * (change.ndim - 1))
        if self.module_dropout:
            change = change * (torch.rand((), device=change.device) >= self.module_dropout)
        return change


def _attribute(ending: str) -> str:
    """torch has no dots in parameters' names."""
    return ending.removesuffix(".weight")


def _add_change(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    added: Tensor = module.get_submodule(CHILD)(inputs[0], module)
    return output + added


class FormulaKind(ABC):
    """What `TrainableKind` asks for, of a kind that says what its tensors are and what they do.

    Attributes:
        ALGO: what LyCORIS calls it.
        SCALED: whether `alpha` is a scale's numerator, and not another number of that name.
        KEPT: tensors that stay float32 in a file, for their rounding would be larger than the change.
    """

    TITLE: ClassVar[str]
    ENDINGS: ClassVar[Mapping[Form, Endings]]
    FULL_RANK: ClassVar[bool]
    RELATIVE: ClassVar[bool]
    ALGO: ClassVar[str]
    SCALED: ClassVar[bool] = True
    KEPT: ClassVar[Set[str]] = frozenset()

    @abstractmethod
    def change(self, tensors: Tensors, fixed: Fixed, weight: Tensor) -> Tensor:
        """The change of `weight`, float32, in its shape; gradients reach the tensors.

        Raises:
            ValueError, RuntimeError: the tensors do not fit each other, or the weight.
        """

    @abstractmethod
    def make(self, weight: Tensor, module: str, settings: Any, generator: torch.Generator) -> FormulaLayer:
        """A fresh layer, which changes nothing, for a weight (out, in) or (out, in, k, k).

        Raises:
            UserError: there is none of these settings.
        """

    @abstractmethod
    def read(self, stored: Stored) -> Change:
        """See `AdapterKind`."""

    def to_lora(self, layer: FormulaLayer) -> Layer:
        """The LoRA that does the same; asked for where the change does not depend on the weight."""
        raise NotImplementedError

    def rank_of(self, tensors: Tensors) -> int | None:
        return None

    def shape_of(self, layer: FormulaLayer) -> tuple[int, ...] | None:
        return None

    def widen(self, given: FormulaLayer, fresh: FormulaLayer) -> FormulaLayer | None:
        """`given`, made as large as `fresh` without changing what it does; None: that cannot be."""
        return given if list_shapes(given.tensors) == list_shapes(fresh.tensors) else None

    def claim(self, tensors: Tensors, form: Form) -> Set[str]:
        return self.ENDINGS[form].whole(tensors)

    def put_on(self, network: nn.Module, modules: list[str], settings: AdapterSettings, seed: int) -> None:
        network.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        for name in sorted(modules):
            module = network.get_submodule(name)
            weight = module.get_parameter("weight")
            module.add_module(CHILD, OnModule(self.make(weight, name, settings, generator), settings, weight.device))
            module.register_forward_hook(_add_change)

    def layers_on(self, network: nn.Module) -> dict[str, nn.Module]:
        return {name: module for name, module in network.named_modules() if self._on(module)}

    def _on(self, module: nn.Module) -> OnModule | None:
        child = getattr(module, CHILD, None)
        return child if isinstance(child, OnModule) and type(child.owner) is type(self) else None

    def _all_on(self, network: nn.Module) -> dict[str, OnModule]:
        return {name: on for name, module in network.named_modules() if (on := self._on(module))}

    def read_from(self, network: nn.Module) -> dict[str, FormulaLayer]:
        found = {}
        for name, on in self._all_on(network).items():
            tensors = {key: one.detach().to("cpu", torch.float32, copy=True) for key, one in on.tensors().items()}
            found[name] = FormulaLayer(self, tensors, on.fixed, module=name)
        return found

    def write_to(self, network: nn.Module, layers: Mapping[str, FormulaLayer]) -> None:
        there = self._all_on(network)
        if wrong := sorted(set(there) ^ set(layers)):
            raise UserError(f"the {self.TITLE}'s modules differ from the network's: {', '.join(wrong[:3])}, ...")
        for name, on in there.items():
            mine, given = on.tensors(), layers[name].tensors
            if list_shapes(mine) != list_shapes(given):
                fix = "use the base model that it was trained on, and its settings"
                raise UserError(f"{name}: {describe_shapes(given)} is not {describe_shapes(mine)}", fix=fix)
            with torch.no_grad():
                for key, parameter in mine.items():
                    parameter.copy_(given[key])
            on.fixed = layers[name].fixed

    def start_from(
        self, begun: StartingPoint, fresh: Mapping[str, FormulaLayer], settings: AdapterSettings
    ) -> dict[str, FormulaLayer]:
        found = {}
        for name, layer in fresh.items():
            given = begun.layers.get(name)
            if given is None:
                found[name] = layer
                continue
            if not isinstance(given, FormulaLayer) or type(given.owner) is not type(self):
                raise UserError(
                    f"its layers are {given.kind}, no {self.TITLE}",
                    where=settings.init_from,
                    fix=f"set train/adapter to the file's kind, or begin {self.TITLE} afresh",
                )
            if (wide := self.widen(given, layer)) is None:
                there, asked = describe_shapes(given.tensors), describe_shapes(layer.tensors)
                raise UserError(
                    f"{name}: its tensors are {there}, the settings' {asked}",
                    where=settings.init_from,
                    fix="set what decides the tensors' shapes as it was for the file"
                    + (f", train.adapter.rank={given.rank} among it" if given.rank else ""),
                )
            found[name] = wide
        return found

    def compute_squared_norms(self, network: nn.Module) -> dict[str, Tensor]:
        return {
            name: on.change(network.get_submodule(name).get_parameter("weight")).square().sum()
            for name, on in self._all_on(network).items()
        }

    def clip_norms(self, network: nn.Module, most: float) -> None:
        """Scale every change that is larger than `most`, Frobenius, down to it, in place."""
        with torch.no_grad():
            for name, on in self._all_on(network).items():
                norm = on.change(network.get_submodule(name).get_parameter("weight")).norm()
                factor = (most / norm.clamp_min(1e-12)).clamp(max=1.0)
                # The change is a product with each tensor in it once.
                for tensor in on.tensors().values():
                    tensor.mul_(factor ** (1 / len(on.names)))

    def prepare_for_autocast(self, network: nn.Module) -> None:
        """A change is float32 until it meets its input, whatever else is done."""
        return

    def scale(self, layer: FormulaLayer, strength: float) -> FormulaLayer:
        if self.RELATIVE:
            raise UserError(
                f"{self.TITLE} has no file of another strength", where="export.strength", fix="set export.strength=1"
            )
        alpha = layer.rank or 1 if layer.alpha is None else layer.alpha
        return replace(layer, fixed={**layer.fixed, "alpha": alpha * strength})

    def cast(self, layer: FormulaLayer, dtype: torch.dtype, where: str) -> tuple[FormulaLayer, float]:
        """In float32 stays what `dtype` cannot hold but for rounding: programs take each tensor as it is."""
        cast = {
            name: small if is_whole(small := tensor.to(dtype), tensor) and name not in self.KEPT else tensor.float()
            for name, tensor in layer.tensors.items()
        }
        return replace(layer, tensors=cast), 0.0

    def compute_norms(self, layers: Mapping[str, FormulaLayer]) -> dict[str, float]:
        """None are needed: `cast` loses nothing."""
        return {}

    def tensors(self, layer: FormulaLayer, form: Form) -> dict[str, Tensor]:
        known = self.ENDINGS[form].all
        fixed = {name: one for name, one in layer.fixed.items() if name in known}
        if self.SCALED and "alpha" in known:
            # LyCORIS reads no layer without one, also where it counts for nothing: as LoKr's of whole factors.
            fixed.setdefault("alpha", float(layer.rank or 1))
        return {**layer.tensors, **{name: torch.tensor(one) for name, one in fixed.items()}}

    def config(self, layers: Mapping[str, FormulaLayer]) -> dict[str, Any]:
        """peft's, for those that have one: ranks and alphas that differ are patterns."""
        return self.format_config({name: (layer.rank or 1, layer.alpha or 0.0) for name, layer in layers.items()})

    def format_config(self, scales: Mapping[str, tuple[int, float]]) -> dict[str, Any]:
        """peft's config of these ranks and alphas, by module."""
        rank, alpha = (Counter(one).most_common(1)[0][0] for one in zip(*scales.values(), strict=True))
        return {
            "peft_type": self.ALGO.upper(),
            "r": rank,
            "alpha": alpha,
            "rank_pattern": {name: one for name, (one, _) in scales.items() if one != rank},
            "alpha_pattern": {name: one for name, (_, one) in scales.items() if one != alpha},
            "target_modules": sorted(scales),
            "rank_dropout": 0.0,
            "module_dropout": 0.0,
        }

    def in_peft(self, layers: Mapping[str, FormulaLayer]) -> bool:
        """Whether peft loads what `tensors` and `config` give in the dotted form: export writes a folder for it too."""
        return False

    def arguments(self, settings: Any) -> dict[str, Any]:
        """LyCORIS' own arguments, beside those that all of its kinds have."""
        return {}

    def metadata(self, facts: RunFacts, settings: Any) -> dict[str, Any]:
        args = {"algo": self.ALGO, **self.arguments(settings)}
        if facts.convolutions:
            args |= {"conv_dim": facts.rank, "conv_alpha": facts.alpha}
        for name in ("rank_dropout", "module_dropout"):
            if value := getattr(settings, name, None):
                args[name] = value
        return {
            "ss_network_module": LYCORIS,
            "ss_network_dim": facts.rank,
            "ss_network_alpha": facts.alpha,
            "ss_network_dropout": settings.dropout or None,
            # As one gives them to sd-scripts: strings.
            "ss_network_args": {key: str(value) for key, value in args.items()},
            **({"ss_scale_weight_norms": most} if (most := getattr(settings, "max_norm", None)) else {}),
        }
