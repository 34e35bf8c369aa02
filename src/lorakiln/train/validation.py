"""The loss on held-out pictures, with noise and times that never change.

A picture's draws depend on its own content alone: not on the training seed, nor on what else is held out. So the
numbers of two runs with the same held-out pictures can be compared.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lorakiln.console.memory import explaining_no_memory
from lorakiln.diffusion import random_draws
from lorakiln.diffusion.loss import Loss
from lorakiln.schema.objectives.mse import MseSettings
from lorakiln.train.encoded_dataset import Bucket
from lorakiln.train.lora_module import LoraModule

ADVICE = "train.validation.every=0 validates never, a lower prepare.resolution takes less; the last checkpoint is kept"
MOST, CELLS = 8, 64 * 64  # what the network takes at once: 8 pictures of 512 pixels, 2 of 1024


@torch.no_grad()
def compute_validation_loss(
    module: LoraModule, held_out: list[list[int]], before_each: Callable[[], object] | None = None
) -> float:
    """Mean squared error, unweighted, over all held-out pictures and their draws; the adapter as it is now.

    Args:
        held_out: row numbers by bucket, at least one.
        before_each: called before every picture; what it raises is raised.

    Raises:
        UserError: the device has no memory for it.
    """
    # Of runs with another objective too: the numbers are compared.
    plain = Loss(module.family.process, MseSettings())
    training, errors = module.network.training, []
    module.network.eval()
    module.encoders.set_training(False)
    try:
        for bucket, rows in zip(module.encoded.buckets, held_out, strict=True):
            for row in rows:
                if before_each:
                    before_each()
                with explaining_no_memory(f"validating on pictures of {bucket.name} pixels", ADVICE):
                    errors.append(_picture_loss(module, plain, bucket, row))
    finally:
        module.network.train(training)
    return float(np.mean(torch.stack(errors).tolist()))


def choose_batch(size: Sequence[int]) -> int:
    """How many noisy pictures the network takes at once: a step's memory is enough for them.

    It follows from the size alone, so that the number does not depend on micro_batch.

    Args:
        size: (h, w) in latent cells.
    """
    return max(1, min(MOST, MOST * CELLS // (size[0] * size[1])))


def _picture_loss(module: LoraModule, losses: Loss, bucket: Bucket, row: int) -> Tensor:
    settings, device = module.settings, module.flat.weights.device
    rng = random_draws.make_generator(int(bucket.rows[row].sha256[:16], 16), random_draws.VALIDATION, 0)
    draws = settings.validation.draws
    times = losses.process.spread_times(rng.random(draws), settings.objective)
    epsilon = torch.from_numpy(rng.standard_normal((draws, *bucket.mean.shape[2:]), dtype=np.float32))
    x_0 = module.move(bucket.mean[row, :1]).float()
    with module.autocast():
        plain = module.conditioning.gather_plain(bucket, row)
    total = torch.zeros((), device=device)
    chunk = choose_batch(bucket.mean.shape[-2:])
    for at in range(0, draws, chunk):
        t, e = (module.move(tensor[at : at + chunk]) for tensor in (times, epsilon))
        conditioning = {name: tensor.expand(len(t), *tensor.shape[1:]) for name, tensor in plain.items()}
        total += losses(module.predicting(conditioning), x_0.expand(len(t), -1, -1, -1), e, t).sum()
    return total / draws
