import numpy as np
import pytest
import torch

from lorakiln.diffusion import noise
from lorakiln.train.validation import at_once, validation_loss

WATCHED = {"every": 5, "fraction": 0.3, "draws": 10}


@pytest.mark.parametrize(
    ("size", "taken"), [((8, 8), 8), ((64, 64), 8), ((64, 96), 5), ((128, 128), 2), ((512, 512), 1)]
)
def test_large_pictures_are_taken_fewer_at_once(size, taken):
    assert at_once(size) == taken


def test_the_loss_is_that_of_a_plain_implementation(make_kiln):
    kiln = make_kiln(validation=WATCHED)
    bucket, row = kiln.encoded.buckets[0], 2
    rng = noise.generator(int(bucket.rows[row].sha256[:16], 16), noise.VALIDATION, 0)
    times = kiln.family.process.spread_times(rng.random(10), kiln.settings.objective)
    epsilon = torch.from_numpy(rng.standard_normal((10, 4, 8, 8), dtype=np.float32))
    errors = []
    for t, e in zip(times, epsilon, strict=True):
        a = kiln.family.process.alphas_cumprod[t]
        x_t = a.sqrt() * bucket.mean[row, 0] + (1 - a).sqrt() * e
        with torch.no_grad():
            predicted = kiln.network(x_t[None], t, bucket.conditioning["prompt_embeds"][row][None]).sample[0]
        errors.append(((predicted - e) ** 2).mean().item())
    assert validation_loss(kiln, [[row], []]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_it_depends_on_the_pictures_and_the_weights_alone(make_kiln):
    kiln, other = make_kiln(validation=WATCHED), make_kiln(seed=9, micro_batch=1, validation=WATCHED)
    kiln.network.train()
    loss = validation_loss(kiln, [[1], [0]])
    assert kiln.network.training
    assert loss == validation_loss(kiln, [[1], [0]]) == validation_loss(other, [[1], [0]])
    # Each picture has its own draws: what else is held out does not matter.
    alone = [validation_loss(kiln, rows) for rows in ([[1], []], [[], [0]])]
    assert loss == pytest.approx(np.mean(alone), rel=1e-7)
    kiln.flat.weights.data.normal_(std=0.5)
    assert validation_loss(kiln, [[1], [0]]) != loss
