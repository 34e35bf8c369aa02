"""Losses stay on the device until somebody reads them; what is not finite is caught there, without a wait."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class StepLosses:
    """Loss and gradient norm of every step since the last row, and the first step that was not finite.

    Attributes:
        losses, norms: read so far and not yet part of a row, as numbers on the host.
    """

    def __init__(self, device: torch.device) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self._unread: list[Tensor] = []
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=device)

    def push(self, step: int, loss: Tensor, norm: Tensor, overflow: Tensor | None = None) -> Tensor:
        """Note a step's loss and gradient norm (0-dimensional).

        Args:
            overflow: whether its gradients, scaled for fp16, are too large: the step is left out, and the run goes on.

        Returns:
            1.0 on the device where the step is left out, and from the first step on at which a loss or a norm was not
            finite for another reason; else 0.0: what the fused optimizer calls `found_inf`. So the weights stay as they
            were before that step.
        """
        pair = torch.stack([loss, norm])
        now_bad = ~pair.isfinite().all()
        if overflow is not None:
            now_bad &= ~(overflow & loss.isfinite())
        self._bad_step = torch.where((self._bad_step < 0) & now_bad, step, self._bad_step)
        self._unread.append(pair)
        left_out = self._bad_step >= 0
        return (left_out if overflow is None else left_out | overflow).float()

    def read(self) -> int | None:
        """Wait for the device and bring everything to the host; the first bad step, or None."""
        if self._unread:
            for loss, norm in torch.stack(self._unread).tolist():
                self.losses.append(loss)
                self.norms.append(norm)
            self._unread.clear()
        bad = int(self._bad_step)
        return None if bad < 0 else bad

    def means(self) -> tuple[float, float]:
        """Mean loss and mean gradient norm since the last call (`read` comes first); the norms of steps that were left
        out are no numbers, and count for nothing.
        """
        norms = [norm for norm in self.norms if math.isfinite(norm)]
        loss = math.fsum(self.losses) / len(self.losses)
        norm = math.fsum(norms) / len(norms) if norms else math.inf
        self.losses, self.norms = [], []
        return loss, norm


class QuarterLosses:
    """The mean loss in each quarter of the noise's times: where it falls, and where it does not."""

    def __init__(self, device: torch.device) -> None:
        self._edges = torch.arange(4, device=device)
        self._sums = torch.zeros(2, 4, device=device)

    def push(self, places: Tensor, losses: Tensor) -> None:
        """Note losses, (B,), and where their times lie, (B,) in [0, 1], 1 the noisiest; the host does not wait."""
        chosen = (places * 4).long().clamp(max=3)[:, None] == self._edges
        pair = torch.stack([losses.detach().float(), torch.ones_like(losses, dtype=torch.float32)])
        # A product, since adding at indices is not deterministic on every device.
        self._sums += pair @ chosen.float()

    def read(self) -> dict[str, float]:
        """Means by name since the last call, of those quarters that had a loss; 1 is the least noisy one."""
        sums, counts = self._sums.tolist()
        self._sums.zero_()
        return {f"loss_quarter/{i + 1}": sums[i] / counts[i] for i in range(4) if counts[i]}


class BlockNorms:
    """The gradient's norm in each block of the networks, of single steps.

    Args:
        spans: of every block the slices of the flat gradient vector.
    """

    def __init__(self, spans: Mapping[str, Sequence[slice]]) -> None:
        self._spans = spans
        self._norms: Tensor | None = None

    def push(self, gradients: Tensor) -> None:
        """Note those of a step, (n,), as they are before they are clipped; the host does not wait."""
        squares = [
            torch.stack([gradients[span].square().sum() for span in spans]).sum() for spans in self._spans.values()
        ]
        self._norms = torch.stack(squares).sqrt()

    def read(self) -> dict[str, float]:
        """{"grad_norm/up_blocks.1": 0.02, ...} of the last step that was noted since the last call; those that are no
        numbers, of a step that was left out, are not among them.
        """
        noted, self._norms = self._norms, None
        if noted is None:
            return {}
        pairs = zip(self._spans, noted.tolist(), strict=True)
        return {f"grad_norm/{block}": value for block, value in pairs if math.isfinite(value)}


def compute_smoothed(losses: Sequence[float], keep: float = 0.9) -> float:
    """The last value of the exponential moving average, without the pull of its beginning."""
    value = weight = 0.0
    for loss in losses:
        value, weight = keep * value + (1 - keep) * loss, keep * weight + (1 - keep)
    return value / weight
