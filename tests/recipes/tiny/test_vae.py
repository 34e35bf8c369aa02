"""The tiny VAE's arithmetic."""

import pytest
import torch

from recipes.tiny import vae


def test_psnr_in_closed_form():
    assert vae.to_decibels(4.0) == 0
    assert vae.to_decibels(0.04) == pytest.approx(20)


def test_the_loss_is_the_error_and_the_distance_from_a_standard_normal():
    torch.manual_seed(0)
    model, images = vae.build(), torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        torch.manual_seed(1)
        loss, mse = vae.compute_loss(model, images)
        torch.manual_seed(1)
        posterior = model.encode(images).latent_dist
        back = model.decode(posterior.sample()).sample
        normal = torch.distributions.Normal(0.0, 1.0)
        kl = torch.distributions.kl_divergence(torch.distributions.Normal(posterior.mean, posterior.std), normal)
    torch.testing.assert_close(mse, (back - images).square().mean())
    torch.testing.assert_close(loss, (back - images).abs().mean() + 3 * mse + vae.KL_WEIGHT * kl.mean())
