"""Text encoders that are trained: at which rates, and until when."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lorakiln.adapters.networks import AdaptedNetworks
from lorakiln.optim.flat_weights import FlatWeights
from lorakiln.schema.train import TrainSettings


def recompute_activations(encoder: nn.Module, function: Callable[..., Any] | None = None) -> None:
    """Let a text encoder keep each layer's input alone while it trains, and compute the rest anew in the backward pass.

    Args:
        function: that does it; None: torch's `checkpoint`.
    """
    found: Any = encoder  # transformers' own methods
    if function is None:
        found.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        found._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=function)


class TrainedEncoders:
    """The text encoders among the networks that carry an adapter; there may be none.

    After the step at which they stop (`train.text_encoders.stop`), nothing is computed for their gradients, and no
    optimizer moves their weights, whatever it remembers.

    Attributes:
        parts: their names.
        stop: so many steps they are trained.
    """

    def __init__(self, adapted: AdaptedNetworks, settings: TrainSettings) -> None:
        self._networks: dict[str, nn.Module] = {
            part: network for part, network in adapted.networks.items() if part != adapted.denoiser
        }
        self._settings, self.parts = settings, list(self._networks)
        self.stop = settings.text_encoders.count_steps(settings.total_steps) if self.parts else settings.total_steps
        self._mask: Tensor | None = None

    def rates(self) -> dict[str, float]:
        """The learning rate of each that `train.optimizer.part_lrs` has none for: its parameters are a group each."""
        optimizer = self._settings.optimizer
        own = {part: self._settings.text_encoders.choose(part).lr for part in self.parts}
        return {part: optimizer.lr if rate is None else rate for part, rate in own.items()}

    def has(self, name: str) -> bool:
        """Whether a parameter, or a group of them, is of one of these, by its name."""
        return name.partition(".")[0].partition(" ")[0] in self._networks

    def learns(self, step: int) -> bool:
        """Whether the step with this index trains them."""
        return bool(self.parts) and step < self.stop

    def set_training(self, mode: bool) -> None:
        """Put them into training mode, in which dropouts drop and activations are recomputed, or out of it."""
        for network in self._networks.values():
            if network.training != mode:
                network.train(mode)

    @contextmanager
    def holding(self, step: int, flat: FlatWeights) -> Iterator[None]:
        """Inside, an optimizer's step; afterwards their weights are what they were to the bit, if they have stopped."""
        if not self.parts or self.learns(step):
            yield
            return
        before = flat.weights.data.clone()
        yield
        flat.weights.data.copy_(torch.where(self._find_mask(flat), before, flat.weights.data))

    def _find_mask(self, flat: FlatWeights) -> Tensor:
        """Which of all adapter weights are theirs, (n,) bool."""
        if self._mask is None:
            self._mask = torch.zeros_like(flat.weights.data, dtype=torch.bool)
            for name, piece in flat.split(self._mask).items():
                piece.fill_(self.has(name))
        return self._mask
