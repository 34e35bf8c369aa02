import numpy as np
import pytest
import torch

from lorakiln.console.errors import UserError
from lorakiln.diffusion import random_draws
from lorakiln.train.validation import choose_batch, compute_validation_loss

WATCHED = {"every": 5, "fraction": 0.3, "draws": 10}


@pytest.mark.parametrize(
    ("size", "taken"), [((8, 8), 8), ((64, 64), 8), ((64, 96), 5), ((128, 128), 2), ((512, 512), 1)]
)
def test_large_pictures_are_taken_fewer_at_once(size, taken):
    assert choose_batch(size) == taken


def test_the_loss_is_that_of_a_plain_implementation(make_module):
    module = make_module(validation=WATCHED)
    bucket, row = module.encoded.buckets[0], 2
    rng = random_draws.make_generator(int(bucket.rows[row].sha256[:16], 16), random_draws.VALIDATION, 0)
    times = module.family.process.spread_times(rng.random(10), module.settings.objective)
    epsilon = torch.from_numpy(rng.standard_normal((10, 4, 8, 8), dtype=np.float32))
    errors = []
    for t, e in zip(times, epsilon, strict=True):
        a = module.family.process.alphas_cumprod[t]
        x_t = a.sqrt() * bucket.mean[row, 0] + (1 - a).sqrt() * e
        with torch.no_grad():
            predicted = module.network(x_t[None], t, bucket.conditioning["prompt_embeds"][row][None]).sample[0]
        errors.append(((predicted - e) ** 2).mean().item())
    assert compute_validation_loss(module, [[row], []]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_it_depends_on_the_pictures_and_the_weights_alone(make_module):
    module, other = make_module(validation=WATCHED), make_module(seed=9, micro_batch=1, validation=WATCHED)
    module.network.train()
    loss = compute_validation_loss(module, [[1], [0]])
    assert module.network.training
    assert loss == compute_validation_loss(module, [[1], [0]]) == compute_validation_loss(other, [[1], [0]])
    # Each picture has its own draws: what else is held out does not matter.
    alone = [compute_validation_loss(module, rows) for rows in ([[1], []], [[], [0]])]
    assert loss == pytest.approx(np.mean(alone), rel=1e-7)
    module.flat.weights.data.normal_(std=0.5)
    assert compute_validation_loss(module, [[1], [0]]) != loss


def test_no_memory_is_told_with_what_helps_there(make_module, monkeypatch):
    module = make_module(validation=WATCHED)

    def full(conditioning):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "predicting", full)
    with pytest.raises(UserError, match="validating on pictures of 32x32 pixels: (.|\n)*train.validation.every=0"):
        compute_validation_loss(module, [[1], [0]])
