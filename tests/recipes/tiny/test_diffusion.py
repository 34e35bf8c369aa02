"""The tiny Stable Diffusion's loss, in closed form: the pipeline's maths, weighted for small pictures."""

import pytest
import torch
from torch.nn import functional as F

from lorakiln.diffusion.processes.ddpm import DDPM, make_process
from recipes.tiny import diffusion
from recipes.tiny.diffusion import GAMMA, STEEPEST, MovingAverage, compute_loss, weigh


def test_min_snr_weights_the_noise_error():
    class Blank(torch.nn.Module):
        def forward(self, noisy, times, ids):
            return torch.zeros_like(noisy)

    torch.manual_seed(0)
    alphas = torch.full((10,), 0.99)  # snr 99, far above the cap
    found = compute_loss(
        Blank(), DDPM(alphas, "epsilon", {}), torch.zeros(64, 8, 8, 8), torch.zeros(64, 32, dtype=torch.long)
    )
    assert found.item() == pytest.approx(GAMMA / 99 * (100 / 99) / 4, rel=0.05)


@pytest.mark.parametrize("snr", [99.0, GAMMA, 1.0, 0.5, 1e-3])
def test_the_weight_falls_where_there_is_little_noise_and_rises_where_there_is_much(snr):
    expected = min(snr, GAMMA) / snr * min((1 + snr) / snr, STEEPEST) / 4
    process = DDPM(torch.tensor([snr / (1 + snr)]), "epsilon", {})
    assert weigh(process, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-3)


def test_the_pipelines_maths_give_the_numbers_that_the_weights_were_trained_with():
    """Bit for bit, and the gradients too: min-SNR weights of the squared error of noise in noisy latents."""
    process = make_process(diffusion.build_scheduler().config, "the recipe")
    alphas = process.alphas_cumprod
    torch.manual_seed(0)
    layer, latents = torch.nn.Conv2d(8, 8, 3, padding=1), torch.randn(32, 8, 8, 8)

    def predict(noisy, times, ids):
        return layer(noisy) * (1 + times.view(-1, 1, 1, 1) / 1000)

    torch.manual_seed(1)
    found = compute_loss(predict, process, latents, None)
    (found_gradient,) = torch.autograd.grad(found, layer.weight)

    torch.manual_seed(1)
    times = torch.randint(0, 1000, (32,))
    again = (times < 125) & (torch.rand(32) < 0.5)
    times = torch.where(again, torch.randint(125, 1000, (32,)), times)
    kept, noise = alphas[times].view(-1, 1, 1, 1), torch.randn_like(latents)
    guess = predict(kept.sqrt() * latents + (1 - kept).sqrt() * noise, times, None)
    snr = alphas[times] / (1 - alphas[times])
    weight = snr.clamp(max=GAMMA) / snr * ((1 + snr) / snr).clamp(max=STEEPEST) / 4
    expected = (weight * F.mse_loss(guess, noise, reduction="none").mean(dim=(1, 2, 3))).mean()
    (expected_gradient,) = torch.autograd.grad(expected, layer.weight)
    assert torch.equal(found, expected) and torch.equal(found_gradient, expected_gradient)


def test_the_moving_average_forgets_its_start_and_comes_back():
    layer = torch.nn.Linear(2, 2)
    average = MovingAverage(layer, limit=0.5)
    torch.nn.init.ones_(layer.weight)
    first = average.kept["weight"].clone()
    average.update(layer, 0)  # decay 1/20: young
    torch.testing.assert_close(average.kept["weight"], first / 20 + 19 / 20)
    average.update(layer, 1000)  # decay 0.5: the limit
    torch.testing.assert_close(average.kept["weight"], first / 40 + 39 / 40)
    other = MovingAverage(torch.nn.Linear(2, 2))
    other.load_state_dict(average.state_dict())
    assert torch.equal(other.kept["weight"], average.kept["weight"])
