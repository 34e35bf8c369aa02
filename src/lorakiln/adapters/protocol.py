"""What a kind of adapter is to everybody else; nothing outside this folder and the grammars of keys knows their names.

A kind is a module of this package, or an object that another package adds to `ADAPTERS`. One that is only read from
files has what `AdapterKind` asks for; one that is trained has what `TrainableKind` asks for as well, and settings in
`schema/adapters/`. One that is recognised alone, to be refused by its name, has no ENDINGS and none of the functions.
"""

from collections.abc import Iterable, Mapping, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from lorakiln.adapters.adapter import Change
from lorakiln.facts.run import RunFacts
from lorakiln.schema.adapters import ADAPTERS, AdapterSettings

# How files name tensors: "lora_unet_<path>.<ending>" (kohya), "<part>.<path>.<ending>" (dotted: diffusers, peft and a
# run's own), "<part>:<number>:<ending>" (numbered).
Form = Literal["kohya", "dotted", "numbered"]


@dataclass(frozen=True)
class Endings:
    """What the names of a kind's tensors end in, after the layer's name and a dot.

    Attributes:
        tells: those by which a file is known to hold such a kind.
        more: what may go with them.
    """

    tells: Set[str] = frozenset()
    more: Set[str] = frozenset()

    @property
    def all(self) -> Set[str]:
        return self.tells | self.more

    def whole(self, tensors: Mapping[str, Tensor]) -> Set[str]:
        """Those of a layer that has all that tell the kind; else none."""
        return self.all & tensors.keys() if self.tells <= tensors.keys() else frozenset()


@dataclass(frozen=True)
class Refused:
    """An adapter that is recognised and not read: the endings that tell it, what it is, and why it is not."""

    endings: tuple[str, ...]
    what: str
    why: str


@dataclass(frozen=True)
class Stored:
    """One layer as a file holds it.

    Attributes:
        name: in the file.
        module: its canonical name with the part in front; "" if it is unknown.
        tensors: by their endings.
        config: peft's beside them, with the part in front of each key; may be empty.
        written_by: what the layer's name begins with in kohya's form, where that tells the program: "oft_unet_".
    """

    path: Path
    name: str
    module: str
    form: Form
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    written_by: str = ""

    @property
    def where(self) -> str:
        """The file and the layer, for messages."""
        return f"{self.path}: {self.name}"


@dataclass(frozen=True)
class StartingPoint:
    """A file that training goes on from.

    Attributes:
        layers: by module, as `read` gave them.
        full_rank: what those are called whose changes are of the weight's own rank.
        base: the base model's path, to be told.
    """

    layers: Mapping[str, Change]
    full_rank: Set[str]
    base: str


class AdapterKind(Protocol):
    """A kind as files hold it.

    Attributes:
        TITLE: what it is called: "LoRA".
        ENDINGS: of its tensors' names, by the form of the file; a form that is absent has none of this kind.
        FULL_RANK: whether its changes are of the weight's own rank, so that cutting them down is a decision.
        RELATIVE: whether its changes depend on the weight; those of one that is not tell the weight's shape.
        REFUSED: what is told by its name and not read; may be absent.
    """

    TITLE: str
    ENDINGS: Mapping[Form, Endings]
    FULL_RANK: bool
    RELATIVE: bool

    def claim(self, tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
        """The endings of a layer's tensors that are this kind's; empty if the layer is of another."""
        ...

    def read(self, stored: Stored) -> Change:
        """The layer of the tensors that `claim` has claimed.

        Raises:
            UserError: they are none: missing, of other shapes or types, not finite.
        """
        ...


class TrainableKind(AdapterKind, Protocol):
    """A kind that can be put on a network and trained.

    `layers` below are by module: as `put_on` takes it, its full name in the network. The layers' class is the kind's
    own, a `Change`; those that `read` gives of a file of this kind are of the same.
    """

    def put_on(self, network: nn.Module, modules: list[str], settings: AdapterSettings, seed: int) -> None:
        """Put a fresh adapter on exactly the named linear layers and convolutions, in place.

        The network computes what it did before. Only the adapter's parameters, all float32, take gradients; they
        depend on the seed and the modules' names alone.
        """
        ...

    def layers_on(self, network: nn.Module) -> Mapping[str, nn.Module]:
        """The modules that carry one."""
        ...

    def read_from(self, network: nn.Module) -> Mapping[str, Change]:
        """A copy of the present weights, on the CPU, float32."""
        ...

    def write_to(self, network: nn.Module, layers: Mapping[str, Any]) -> None:
        """Put weights into an adapter that is on `network`.

        Raises:
            UserError: the modules or the shapes differ.
        """
        ...

    def start_from(
        self, begun: StartingPoint, fresh: Mapping[str, Any], settings: AdapterSettings
    ) -> Mapping[str, Change]:
        """Layers for the modules of `fresh`, which the settings have made, that do what those of a file do.

        Args:
            begun: all its modules are among the fresh ones.

        Raises:
            UserError: they are of a kind, or of a size, that this one cannot go on from.
        """
        ...

    def compute_squared_norms(self, network: nn.Module) -> dict[str, Tensor]:
        """||change||^2 of each layer as it is now, 0-dimensional, on the network's device."""
        ...

    def prepare_for_autocast(self, network: nn.Module) -> None:
        """From now on the network's calls are under autocast to half precision."""
        ...

    def scale(self, layer: Any, strength: float) -> Change:
        """The layer whose change is `strength` times as large.

        Raises:
            UserError: this kind has none.
        """
        ...

    def cast(self, layer: Any, dtype: torch.dtype, where: str) -> tuple[Change, float]:
        """The layer with its numbers in `dtype`; and the share of its change that is lost, if it is more than rounding.

        Raises:
            UserError: the type cannot hold it.
        """
        ...

    def compute_norms(self, layers: Mapping[str, Any]) -> dict[str, float]:
        """||change||, Frobenius, of every layer; asked for where `cast` has told of a loss, and else not needed."""
        ...

    def tensors(self, layer: Any, form: Form) -> dict[str, Tensor]:
        """By their endings; `read` makes the layer of them again, with the config in the dotted form."""
        ...

    def config(self, layers: Mapping[str, Any]) -> dict[str, Any]:
        """What the tensors of the dotted form do not say of one part's layers, as peft's config says it; JSON-able."""
        ...

    def metadata(self, facts: RunFacts, settings: AdapterSettings) -> dict[str, Any]:
        """sd-scripts' keys about the network: ss_network_module, _dim, _alpha, _dropout and _args.

        Args:
            facts: as `kohya_metadata.build_metadata` takes them: rank and alpha are those of the file.
            settings: that the adapter was trained with.
        """
        ...


class LimitedKind(TrainableKind, Protocol):
    """A kind whose settings have `max_norm`."""

    def clip_norms(self, network: nn.Module, most: float) -> None:
        """Scale every change that is larger than `most`, Frobenius, down to it, in place."""
        ...


class PairKind(TrainableKind, Protocol):
    """A kind whose settings have `rate_ratio` (LoRA+)."""

    def learns_faster(self, name: str) -> bool:
        """Whether a parameter is one that learns faster, by its name."""
        ...


class AnchoredKind(TrainableKind, Protocol):
    """A kind that begins with something of the weights, which a checkpoint has to hold."""

    def list_frozen(self, network: nn.Module) -> dict[str, Tensor]:
        """It, by name, never trained: another machine would compute other last bits."""
        ...


class FoldableKind(TrainableKind, Protocol):
    """A kind that diffusers loads: export writes a folder for it too."""

    def fold(self, layer: Any, rank: int, dtype: torch.dtype | None, where: str) -> tuple[Change, float]:
        """As `cast`, with its whole scale in the tensors of the dotted form, filled up to `rank` with zeros."""
        ...


class WeightedKind(TrainableKind, Protocol):
    """A kind that training can draw with at another weight than 1."""

    def at_weight(self, network: nn.Module, weight: float) -> AbstractContextManager[None]:
        """With an adapter on `network` that does `weight` times as much; afterwards it is as before, bit for bit."""
        ...


def list_kinds() -> list[AdapterKind]:
    """All kinds, in the names' order."""
    return [ADAPTERS.find(name) for name in ADAPTERS.known]


def find_claiming_kind(
    tensors: Mapping[str, Tensor], form: Form, kinds: Iterable[AdapterKind]
) -> tuple[AdapterKind, Set[str]] | None:
    """The kind of a layer with these tensors, by their endings, and which are its own: who has most; None: none has."""
    claims = [(kind, taken) for kind in kinds if form in kind.ENDINGS and (taken := kind.claim(tensors, form))]
    return max(claims, key=lambda claim: len(claim[1]), default=None)


def select_endings(tensors: Mapping[str, Tensor], endings: Iterable[str]) -> dict[str, Tensor]:
    """Of a layer's tensors those with these endings."""
    return {ending: tensors[ending] for ending in sorted(endings)}


def find_trained_kind(name: str) -> TrainableKind:
    """The kind that settings name."""
    kind: TrainableKind = ADAPTERS.find(name)
    return kind
