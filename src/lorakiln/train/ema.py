"""The exponential moving average of the adapter's weights (EMA; arXiv 2006.11239, section 4, takes 0.9999)."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from lorakiln.schema.train import EmaSettings


def compute_decay(steps: int, settings: EmaSettings) -> float:
    """How much of the average stays in the update after `steps` optimizer steps.

    With warm-up it is min(decay, (1 + k) / (10 + k)), k steps after the average began, as in diffusers' EMAModel: else
    the weights of the beginning would stay in it for long. The average begins as a copy of the weights, with k = 0.

    Returns:
        in [0, 1): 0 is a copy.
    """
    assert settings.decay is not None
    begun = steps - settings.start - 1
    if begun <= 0:
        return 0.0
    return min(settings.decay, (1 + begun) / (10 + begun)) if settings.warmup else settings.decay


class WeightAverage:
    """average <- decay average + (1 - decay) weights, after every optimizer step.

    Args:
        weights: (n,) as they are before the first step.
    """

    def __init__(self, weights: Tensor, settings: EmaSettings) -> None:
        self.weights, self.settings = weights.detach().clone(), settings

    def update(self, weights: Tensor, steps: int) -> None:
        """Take in the weights after `steps` steps, (n,)."""
        self.weights.lerp_(weights, 1 - compute_decay(steps, self.settings))

    @contextmanager
    def put_into(self, weights: Tensor) -> Iterator[None]:
        """The average in the place of `weights`, (n,), which are put back, bit for bit."""
        now = weights.clone()
        weights.copy_(self.weights)
        try:
            yield
        finally:
            weights.copy_(now)


def make_average(weights: Tensor, settings: EmaSettings) -> WeightAverage | None:
    """None where the settings want none."""
    return WeightAverage(weights, settings) if settings.decay is not None else None
