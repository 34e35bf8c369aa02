"""Train the tiny AutoencoderKL: RGB in [-1, 1] to 8 latent channels at a quarter of the size."""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from recipes.tiny.scenes import HELD_OUT, SIZES, Composer
from recipes.tiny.training import compute_rate, load_state, save_state, seed_step, set_rate, to_tensor
from recipes.tiny.workspace import locate

SAVE_EVERY = 300
KL_WEIGHT = 2e-4  # keeps latents bounded and smooth without costing sharpness


def build() -> AutoencoderKL:
    """A fresh model. No attention in the middle: at 16x16 it costs time and gains nothing here."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 48, 96),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def compute_loss(vae: AutoencoderKL, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, mean squared error) on images (n, 3, h, w) in [-1, 1]."""
    posterior = vae.encode(images).latent_dist
    back = vae.decode(posterior.sample()).sample.float()
    mse = F.mse_loss(back, images)
    kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    # L1 keeps edges sharp; the squared error is what the bar measures.
    return F.l1_loss(back, images) + 3 * mse + KL_WEIGHT * kl, mse


def to_decibels(mse: float) -> float:
    """PSNR of a mean squared error on the [-1, 1] scale."""
    return 10 * math.log10(4 / mse)


def train(steps: int, batch: int = 16, peak: float = 2e-3) -> None:
    """Train up to `steps` steps, from the last checkpoint if there is one; then write the folder `vae`."""
    torch.manual_seed(0)
    vae = build()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=1e-4)
    state, composer, losses = locate("vae.pt"), Composer(1000), []
    for step in range(load_state(state, model=vae, optimizer=optimizer), steps):
        composer.rng = seed_step(1000, step)
        set_rate(optimizer, compute_rate(step, steps, peak))
        images = to_tensor([scene.pixels for scene in composer.sample_batch(batch)])
        with torch.autocast("cpu", torch.bfloat16):
            loss, mse = compute_loss(vae, images)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        losses.append(mse.item())
        if (step + 1) % 50 == 0:
            recent = to_decibels(sum(losses[-50:]) / len(losses[-50:]))
            print(f"vae step {step + 1} of {steps}, train psnr {recent:.2f}", flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_state(state, step + 1, model=vae, optimizer=optimizer)
    finish(vae)


@torch.no_grad()
def finish(vae: AutoencoderKL) -> None:
    """Set the scaling factor so that scaled latents have unit variance, and save the folder."""
    composer = Composer(2000)
    batches = [to_tensor([scene.pixels for scene in composer.sample_batch(32, size)]) for size in SIZES]
    latents = [vae.encode(images).latent_dist.sample().flatten() for images in batches]
    vae.register_to_config(scaling_factor=round(1 / torch.cat(latents).std().item(), 5))
    vae.save_pretrained(locate("vae"))
    print(f"vae held-out psnr {measure_psnr(vae):.2f} scaling {vae.config.scaling_factor}", flush=True)


@torch.no_grad()
def measure_psnr(vae: AutoencoderKL, count: int = 96) -> float:
    """Mean PSNR of reconstructions (posterior mode, clamped) of held-out scenes, in dB."""
    composer, each = Composer(HELD_OUT), []
    for size in SIZES:
        images = to_tensor([scene.pixels for scene in composer.sample_batch(count // len(SIZES), size)])
        back = vae.decode(vae.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
        each += ((back - images) ** 2).mean(dim=(1, 2, 3)).tolist()
    return sum(to_decibels(max(e, 1e-6)) for e in each) / len(each)
