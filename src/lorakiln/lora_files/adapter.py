"""An adapter in memory, whatever file it came from."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """The low-rank update of one module: delta W = (alpha / rank) * up @ down.

    Attributes:
        down: (rank, in) or, for a convolution, (rank, in, kernel, kernel).
        up: (out, rank) or (out, rank, 1, 1).
        alpha: the scale's numerator.
    """

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def delta(self) -> Tensor:
        """The change of the module's weight, in the weight's shape, float32."""
        down, up = self.down.float(), self.up.float()
        flat = up.flatten(1) @ down.flatten(1)
        return self.scale * flat.reshape(up.shape[0], *down.shape[1:])


@dataclass(frozen=True)
class Adapter:
    """Layers by diffusers' module name with the model's part in front: "unet.down_blocks.0.attentions.0....to_q".

    Text encoders' layers begin with "text_encoder." (and "text_encoder_2.").

    Attributes:
        base: what the names in the file that it comes from say of the base model, "sdxl", or None; see `base.py`.
    """

    layers: dict[str, Layer]
    metadata: dict[str, str] = field(default_factory=dict)
    base: str | None = None
