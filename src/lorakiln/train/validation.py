"""The loss on held-out pictures, with noise and timesteps that never change.

A picture's draws depend on its own content alone: not on the training seed, nor on what else is held out. So the
numbers of two runs with the same held-out pictures can be compared.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lorakiln.schema.train import TrainSettings
from lorakiln.train import noise
from lorakiln.train.latents import Bucket
from lorakiln.train.module import Kiln

MOST, CELLS = 8, 64 * 64  # what the network takes at once: 8 pictures of 512 pixels, 2 of 1024


@torch.no_grad()
def validation_loss(kiln: Kiln, held_out: list[list[int]], before_each: Callable[[], object] | None = None) -> float:
    """Mean squared error, unweighted, over all held-out pictures and their draws; the adapter as it is now.

    Args:
        held_out: row numbers by bucket, at least one.
        before_each: called before every picture; what it raises is raised.
    """
    training, errors = kiln.network.training, []
    kiln.network.eval()
    try:
        for bucket, rows in zip(kiln.encoded.buckets, held_out, strict=True):
            for row in rows:
                if before_each:
                    before_each()
                errors.append(_picture_loss(kiln, bucket, row))
    finally:
        kiln.network.train(training)
    return float(np.mean(torch.stack(errors).tolist()))


def at_once(size: Sequence[int]) -> int:
    """How many noisy pictures the network takes at once: a step's memory is enough for them.

    It follows from the size alone, so that the number does not depend on micro_batch.

    Args:
        size: (h, w) in latent cells.
    """
    return max(1, min(MOST, MOST * CELLS // (size[0] * size[1])))


def timesteps(settings: TrainSettings, total: int, shifts: np.ndarray) -> np.ndarray:
    """One timestep in each of `draws` equal parts of the range trained on, (draws,) int64.

    Args:
        total: T of the noise schedule.
        shifts: (draws,) in [0, 1), the place within each part.
    """
    low = settings.objective.min_timestep
    high = min(settings.objective.max_timestep or total, total)
    draws = settings.validation.draws
    return low + ((np.arange(draws) + shifts) * (high - low) / draws).astype(np.int64)


def _picture_loss(kiln: Kiln, bucket: Bucket, row: int) -> Tensor:
    settings, family = kiln.settings, kiln.family
    device = kiln.flat.weights.device
    rng = noise.generator(int(bucket.rows[row].sha256[:16], 16), noise.VALIDATION, 0)
    draws = settings.validation.draws
    times = timesteps(settings, len(family.alphas_cumprod), rng.random(draws))
    epsilon = rng.standard_normal((draws, *bucket.mean.shape[2:]), dtype=np.float32)
    x_0 = bucket.mean[row, :1].to(device).float()
    told = {name: tensor[row : row + 1].to(device) for name, tensor in bucket.conditioning.items()}
    total = torch.zeros((), device=device)
    chunk = at_once(bucket.mean.shape[-2:])
    for at in range(0, draws, chunk):
        t, e = (torch.from_numpy(array[at : at + chunk]).to(device) for array in (times, epsilon))
        alpha_bar = family.alphas_cumprod[t]
        clean = x_0.expand(len(t), -1, -1, -1)
        x_t = noise.add_noise(clean, e, alpha_bar).contiguous(memory_format=torch.channels_last)
        conditioning = {name: tensor.expand(len(t), *tensor.shape[1:]) for name, tensor in told.items()}
        with kiln.autocast():
            prediction = family.predict(x_t, t, conditioning).float()
        wanted = noise.target(clean, e, alpha_bar, family.prediction_type)
        total += (prediction - wanted).square().mean(dim=(1, 2, 3)).sum()
    return total / draws
