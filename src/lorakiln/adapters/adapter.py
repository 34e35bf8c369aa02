"""An adapter in memory, whatever kind it is of and whatever file it came from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lorakiln.console.errors import UserError


class Change(ABC):
    """What an adapter does to one module's weight: W' = W + its change.

    A kind whose changes are none of those below has a class of its own for them.

    Attributes:
        kind: "LoRA", "OFT", "DoRA of LoKr", ...
        rank: of its low-rank part, if it has one, and its alpha.
        shape: of the module's weight, (out, in) or (out, in, kernel, kernel), where the layer tells it.
        dtype: of its numbers.
        parameters: how many of them a file holds.
    """

    if TYPE_CHECKING:  # properties, for they are only read; at run time a dataclass would take them for defaults

        @property
        def kind(self) -> str: ...
        @property
        def rank(self) -> int | None: ...
        @property
        def alpha(self) -> float | None: ...
        @property
        def shape(self) -> tuple[int, ...] | None: ...
        @property
        def dtype(self) -> torch.dtype: ...
        @property
        def parameters(self) -> int: ...

    @abstractmethod
    def change_of(self, weight: Tensor) -> Tensor:
        """The change of `weight`, the base's own, in its shape, float32.

        Raises:
            UserError: it is for a weight of another shape, or the change is not finite.
        """

    def low_rank(self) -> "Layer | None":
        """The LoRA that changes every weight by the same; None where the change depends on the weight."""
        return None


@dataclass(frozen=True)
class Layer(Change):
    """LoRA's: the low-rank update of one module, delta W = (alpha / rank) * up @ down.

    Attributes:
        down: (rank, in) or, for a convolution, (rank, in, kernel, kernel).
        up: (out, rank) or (out, rank, 1, 1).
        alpha: the scale's numerator.
    """

    kind: ClassVar[str] = "LoRA"
    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the module's weight: (out, in) or (out, in, kernel, kernel)."""
        return (self.up.shape[0], *self.down.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        return self.down.dtype

    @property
    def parameters(self) -> int:
        return self.down.numel() + self.up.numel()

    def delta(self) -> Tensor:
        """The change of the module's weight, in the weight's shape, float32."""
        down, up = self.down.float(), self.up.float()
        flat = up.flatten(1) @ down.flatten(1)
        return self.scale * flat.reshape(self.shape)

    def change_of(self, weight: Tensor) -> Tensor:
        """The change of `weight`, in its shape: a 1x1 convolution's factors may be stored as matrices."""
        return self.delta().reshape(weight.shape)

    def low_rank(self) -> "Layer":
        return self


@dataclass(frozen=True)
class Relative(Change):
    """A change of a module's weight that depends on that weight: it is known once a base model is at hand.

    Attributes:
        change: the change of the base's weight, (out, in) or (out, in, kernel, kernel), float32; a ValueError or
            RuntimeError where the two do not fit each other.
        where: the file and the layer.
    """

    kind: str
    change: Callable[[Tensor], Tensor]
    where: str
    parameters: int
    dtype: torch.dtype
    rank: int | None = None
    alpha: float | None = None
    shape: tuple[int, ...] | None = None

    def change_of(self, weight: Tensor) -> Tensor:
        fix = "use the base model that it was trained on"
        try:
            changed = self.change(weight.float())
        except (ValueError, RuntimeError) as error:
            shape = "x".join(map(str, weight.shape))
            what = f"no {self.kind} layer of a weight of {shape} in the base model"
            raise UserError(what, where=self.where, fix=fix) from error
        if not torch.isfinite(changed).all():
            what = f"with this base model's weight {self.kind} gives numbers that are not finite"
            raise UserError(what, where=self.where, fix=fix)
        return changed


@dataclass(frozen=True)
class Embedding:
    """A word's vectors, (n, width), by the text encoder that reads them: "text_encoder", "text_encoder_2"."""

    word: str
    vectors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Adapter:
    """Layers by diffusers' module name with the model's part in front: "unet.down_blocks.0.attentions.0....to_q".

    Text encoders' layers begin with "text_encoder." (and "text_encoder_2.").

    Attributes:
        layers: LoRA's; of an adapter as it was trained, those of its kind.
        base: what the names in the file that it comes from hint at, "sdxl", or None; see `lora_files/base_model.py`.
        relative: layers that are no LoRAs until a base model is at hand; `lora_files/reading.py` makes LoRAs of them.
        embeddings: of words, which the file brings along.
    """

    layers: dict[str, Any]
    metadata: dict[str, str] = field(default_factory=dict)
    base: str | None = None
    relative: dict[str, Change] = field(default_factory=dict)
    embeddings: dict[str, Embedding] = field(default_factory=dict)

    def select(self, part: str) -> "Adapter":
        """Without the layers of other parts than this one."""
        layers, relative = (
            {name: layer for name, layer in given.items() if name.startswith(f"{part}.")}
            for given in (self.layers, self.relative)
        )
        return replace(self, layers=layers, relative=relative)

    @property
    def changes(self) -> dict[str, Change]:
        """All of its layers."""
        return {**self.layers, **self.relative}
