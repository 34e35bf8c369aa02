"""The networks of one model with an adapter on them: the denoiser, and the text encoders if they are trained too."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast
from zlib import crc32

import torch
from torch import Tensor, nn

from lorakiln.adapters.adapter import Adapter, Embedding
from lorakiln.adapters.protocol import TrainableKind, WeightedKind, find_trained_kind
from lorakiln.console.errors import UserError
from lorakiln.families.layer_names import to_canonical_name
from lorakiln.families.learned_words import list_word_tables
from lorakiln.families.protocol import Family
from lorakiln.schema.adapters import AdapterSettings

TOKENS = "tokens"  # what the names of words' vectors begin with


@dataclass(frozen=True)
class Placement:
    """What is to be put on one network.

    Attributes:
        modules: full names of its linear layers and convolutions that are adapted.
        settings: of the adapter there: its rank, alpha and dropout; the kind is that of all networks.
    """

    modules: list[str]
    settings: AdapterSettings


class AdaptedNetworks:
    """Networks that carry an adapter of one kind, by their part's name in LoRA files: {"unet": ..., ...}.

    Args:
        kind: of the adapter.
        networks: those of the model that carry it.
        denoiser: the part whose parameters go by their own names; the others' have the part in front:
            "text_encoder.<name>". A learning rate for names that begin so is that part's own.
        words: of words that are trained, by word and by the encoder that reads them, the vectors (n, width): parameters
            too, called "tokens.<word>.<part>".
    """

    def __init__(
        self,
        kind: TrainableKind,
        networks: Mapping[str, nn.Module],
        denoiser: str,
        words: Mapping[str, Mapping[str, nn.Parameter]] | None = None,
    ) -> None:
        self.kind, self.networks, self.denoiser = kind, dict(networks), denoiser
        self.words = {word: dict(vectors) for word, vectors in (words or {}).items()}

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.networks.values())

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """(name, parameter) of all that is trained."""
        words = [
            (f"{TOKENS}.{word}.{part}", rows) for word, vectors in self.words.items() for part, rows in vectors.items()
        ]
        apart = {id(rows) for _, rows in words}
        layers = [
            (name if part == self.denoiser else f"{part}.{name}", parameter)
            for part, network in self.networks.items()
            for name, parameter in network.named_parameters()
            if parameter.requires_grad and id(parameter) not in apart
        ]
        return layers + words

    def read(self) -> Adapter:
        """A copy of the present weights, on the CPU, float32, by canonical names with the part in front."""
        layers = {
            to_canonical_name(f"{part}.{name}"): layer
            for part, network in self.networks.items()
            for name, layer in self.kind.read_from(network).items()
        }
        embeddings = {
            word: Embedding(word, {part: rows.detach().to("cpu", copy=True) for part, rows in vectors.items()})
            for word, vectors in self.words.items()
        }
        return Adapter(layers, embeddings=embeddings)

    def write(self, adapter: Adapter) -> None:
        """Put the weights of `adapter` into the networks.

        Raises:
            UserError: the modules or the shapes differ.
        """
        left = dict(adapter.layers)
        for part, network in self.networks.items():
            names = {to_canonical_name(f"{part}.{name}"): name for name in self.kind.layers_on(network)}
            mine = {name for name in left if name.partition(".")[0] == part}
            given = {names.get(name, name.partition(".")[2]): left.pop(name) for name in sorted(mine)}
            self.kind.write_to(network, given)
        if left:
            part = min(left).partition(".")[0]
            raise UserError(f"it has layers of {part}, which carries no adapter", fix="leave that part out")
        for word, vectors in self.words.items():
            for part, rows in vectors.items():
                with torch.no_grad():
                    rows.copy_(adapter.embeddings[word].vectors[part])

    @contextmanager
    def at_weight(self, weight: float) -> Iterator[None]:
        """With an adapter that does so many times what it does; of a kind that has a weight, where it is not 1."""
        with ExitStack() as stack:
            for network in self if weight != 1 else ():
                stack.enter_context(cast(WeightedKind, self.kind).at_weight(network, weight))
            yield

    def compute_squared_norms(self) -> dict[str, Tensor]:
        """||change||^2 of each layer as it is now, 0-dimensional; names as those of the parameters."""
        return {
            name if part == self.denoiser else f"{part}.{name}": square
            for part, network in self.networks.items()
            for name, square in self.kind.compute_squared_norms(network).items()
        }

    def list_frozen(self) -> dict[str, Tensor]:
        """What the kind has beside the trained weights and could not compute again to the last bit, by name."""
        return {
            name if part == self.denoiser else f"{part}.{name}": tensor
            for part, network in self.networks.items()
            for name, tensor in getattr(self.kind, "list_frozen", lambda _: {})(network).items()
        }

    def clip_norms(self, most: float) -> None:
        """Scale every change that is larger than `most`, Frobenius, down to it, in place; of kinds that can be."""
        kind: Any = self.kind
        for network in self:
            kind.clip_norms(network, most)

    def prepare_for_autocast(self) -> None:
        """From now on the networks' calls are under autocast to half precision."""
        for network in self:
            self.kind.prepare_for_autocast(network)


def put_on(family: Family, placements: Mapping[str, Placement], seed: int) -> AdaptedNetworks:
    """Put fresh adapters of one kind on networks of `family`, in place.

    Args:
        placements: by part, as `Family.adaptable` names them: each with modules, rank, alpha and dropout of its own.
        seed: of the denoiser's first weights; other parts' are drawn from it and the part's name.

    Raises:
        ValueError: the kinds differ.
    """
    kinds = {placement.settings.kind for placement in placements.values()}
    if len(kinds) != 1:
        raise ValueError(f"an adapter is of one kind, not of {', '.join(sorted(kinds))}")
    (kind,) = kinds
    networks, denoiser = family.adaptable(), find_denoiser_part(family)
    for part, placement in placements.items():
        own = seed if part == denoiser else (seed + crc32(part.encode())) % 2**63
        find_trained_kind(kind).put_on(networks[part], placement.modules, placement.settings, own)
    return find_adapted_networks(family, kind)


def find_adapted_networks(family: Family, kind: str) -> AdaptedNetworks:
    """Those of the loaded networks of `family` that carry an adapter of this kind."""
    found = find_trained_kind(kind)
    carrying = {part: network for part, network in family.adaptable().items() if found.layers_on(network)}
    return AdaptedNetworks(found, carrying, find_denoiser_part(family), _find_words(family))


def _find_words(family: Family) -> dict[str, dict[str, nn.Parameter]]:
    """The words that are trained, by the text encoders that read them."""
    found: dict[str, dict[str, nn.Parameter]] = {}
    for part, table in list_word_tables(family.adaptable()).items():
        for word, rows in zip(table.words, table.learned, strict=True):
            if rows.requires_grad:
                found.setdefault(word, {})[part] = rows
    return found


def find_denoiser_part(family: Family) -> str:
    """What the part is called in LoRA files that draws: "unet"."""
    return next(part for part, network in family.adaptable().items() if network is family.network)


def list_weights(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The weights that an adapter can change, by their canonical names with the part in front.

    Args:
        networks: bare, by part, as `Family.adaptable` gives them.
    """
    return {
        to_canonical_name(f"{part}.{name}"): module.weight
        for part, network in networks.items()
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


@torch.no_grad()
def compute_adapter_norms(adapted: AdaptedNetworks) -> dict[str, float]:
    """The Frobenius norm of the weight change, its scale included, by block: {"lora_norm/up_blocks.1": 0.3, ...}."""
    squares: dict[str, Tensor] = {}
    for name, square in adapted.compute_squared_norms().items():
        block = find_block(name)
        squares[block] = squares.get(block, 0.0) + square
    if not squares:  # words alone are trained
        return {}
    values = torch.stack(list(squares.values())).clamp_min(0).sqrt().tolist()
    return {f"lora_norm/{block}": value for block, value in zip(squares, values, strict=True)}


def find_block(name: str) -> str:
    """The block of a module or a parameter: "up_blocks.1.attentions.0.proj_in" -> "up_blocks.1", "mid_block"."""
    parts = name.split(".")
    return ".".join(parts[:2] if parts[1:] and parts[1].isdigit() else parts[:1])
