"""Where a robust loss turns from squared to absolute: a constant, or more where there is less noise (arXiv 2403.16728).

With delta = huber_delta, s = huber_scale, u the time's place from the least noisy, 0, to the noisiest, 1, and sigma =
1 / sqrt(SNR):

    constant:       s delta
    exponential:    s delta^u
    snr:            (1 - delta) / (1 + sigma)^2 + delta

as in sd-scripts, where delta is huber_c.
"""

from torch import Tensor

from lorakiln.diffusion.process import Process
from lorakiln.schema.objectives import ObjectiveSettings


def compute_threshold(process: Process, t: Tensor, objective: ObjectiveSettings) -> Tensor | float:
    """Each picture's threshold, (B, 1, 1, 1), or that of all of them.

    Args:
        t: (B,) as the process counts times.
    """
    delta, scale = objective.huber_delta, objective.huber_scale
    if objective.huber_schedule == "constant":
        return scale * delta
    if objective.huber_schedule == "exponential":
        found = scale * delta ** process.locate(t)
    else:
        root = process.compute_snr(t).sqrt()
        found = (1 - delta) * (root / (root + 1)).square() + delta
    return found.float().view(-1, 1, 1, 1)
