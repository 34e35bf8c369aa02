"""What a kind of optimizer is: a module (or any object) found by name through `schema.optimizers.OPTIMIZERS`."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch.optim import Optimizer

from lorakiln.schema.optimizers import OptimizerSettings


class OptimizerKind(Protocol):
    """One kind.

    What `build` returns keeps torch's contract: all that its next step depends on is in its `state_dict`, which holds
    tensors, numbers, texts, lists, tuples and dicts of them. A resumed run is then bit for bit the uninterrupted one,
    and every device's optimizer holds the same, since gradients are summed over the devices before the step.

    Attributes:
        ELEMENTWISE: what becomes of a weight depends on its own gradients alone. It then works on one flat vector (a
            vector for each part with a learning rate of its own), which is faster than hundreds of small tensors. Else
            it gets the adapter's tensors as they are.
        MASKED: it leaves its weights and state as they are, on the device, where its attribute `found_inf` (a tensor,
            0-dimensional) is 1, as torch's fused optimizers do. Another one's step is left out, which is as exact,
            but waits for the device in every step.
    """

    ELEMENTWISE: bool
    MASKED: bool

    def build(self, groups: Sequence[dict[str, Any]], settings: OptimizerSettings) -> Optimizer:
        """The optimizer.

        Args:
            groups: torch's parameter groups, "params" and "name", of float32 tensors, also on the meta device, where
                memory is counted. Their "lr" is set before every step, that of `settings` is the peak.
            settings: the kind's own.
        """

    def kohya_name(self, settings: OptimizerSettings) -> str:
        """What ss_optimizer in a file's metadata says: the class and its arguments, "torch.optim.AdamW(eps=1e-08)"."""


@runtime_checkable
class AdaptsRate(Protocol):
    """An optimizer that finds the learning rate itself."""

    def rate_factor(self) -> float | None:
        """What it has found so far: the factor on its groups' "lr"; None if its settings have it find nothing."""


@runtime_checkable
class Averages(Protocol):
    """An optimizer whose weights, between two steps, are not those to be used."""

    def eval(self) -> None:
        """Give the weights those values that are to be measured, drawn with and saved; nothing before the first step.
        The state stays as it is.
        """

    def train(self) -> None:
        """Give them back those that the next step goes on from, up to rounding."""


def read_rate_factor(optimizer: Optimizer) -> float | None:
    """The factor that an optimizer has found for its learning rate; None if it takes the rate as it is.

    Other libraries' that estimate a distance keep it in their groups, as "d".
    """
    if isinstance(optimizer, AdaptsRate):
        return optimizer.rate_factor()
    found = optimizer.param_groups[0].get("d")
    return None if found is None else float(found)
