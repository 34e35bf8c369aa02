"""Train the tiny Stable Diffusion: UNet and text encoder together, on latents, predicting the noise."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lorakiln.diffusion.losses.mse import compute_errors
from lorakiln.diffusion.processes.ddpm import DDPM, make_process
from lorakiln.schema.objectives import ObjectiveSettings
from recipes.tiny.latents import LatentDataset, tokenize_empty
from recipes.tiny.tokenizers import LENGTH, write_clip_tokenizer
from recipes.tiny.training import (
    MuonAndAdamW,
    average_gradients,
    compute_rate,
    join_processes,
    load_state,
    save_state,
    seed_step,
    wait_for_first,
)
from recipes.tiny.workspace import locate

SAVE_EVERY = 250
EMPTY = 0.1  # share of captions dropped, so that guidance has an unconditional prediction
GAMMA = 5.0  # min-SNR's cap (arXiv 2303.09556): weight min(snr, gamma) / snr on the noise error

SHARES = {"sd": 0.0, "figures": 0.45}  # of figures among the pictures
PEAKS = {"sd": 1e-3, "figures": 5e-4}  # learning rates after the warmup
STEEPEST = 15.0  # cap on the weight's rise towards pure noise
OBJECTIVE = ObjectiveSettings(kind="mse", min_snr_gamma=GAMMA)


def build_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1.5."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def build_unet() -> UNet2DConditionModel:
    """A fresh UNet: three levels, attention on the lower two."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text(tokens: int, end: int) -> CLIPTextModel:
    """A fresh text encoder of three layers."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokens,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=end - 1,
            eos_token_id=end,
            pad_token_id=end,
            projection_dim=128,
        )
    )


class Denoiser(nn.Module):
    """UNet and text encoder as one module, so that one optimizer and one average hold both."""

    def __init__(self, unet: UNet2DConditionModel, text: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text = unet, text

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The noise (n, 8, h, w) in noisy latents at integer times (n,), given token ids (n, 32)."""
        return self.unet(noisy, times, self.text(ids).last_hidden_state).sample


class MovingAverage:
    """Exponential moving average of weights, young at the start so that early samples are usable."""

    def __init__(self, model: nn.Module, limit: float = 0.998) -> None:
        self.limit = limit
        self.kept = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.limit, (1 + step) / (20 + step))
        fresh = [v for v in model.state_dict().values() if v.is_floating_point()]
        old = [v for v in self.kept.values() if v.is_floating_point()]
        torch._foreach_lerp_(old, fresh, 1 - decay)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.kept

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.kept = {k: v.clone() for k, v in state.items()}


def weigh(process: DDPM, times: torch.Tensor) -> torch.Tensor:
    """Weight (n,) of the squared noise error at timesteps (n,).

    min-SNR's fall where there is little noise, and v-prediction's rise where there is much (capped): in a picture
    as small as this the thing and the background colour are decided there, and the plain loss hardly sees it.
    """
    alpha_bar = process.alphas_cumprod[times]
    snr = alpha_bar / (1 - alpha_bar)
    return process.compute_weight(times, OBJECTIVE) * ((1 + snr) / snr).clamp(max=STEEPEST) / 4


def compute_loss(denoiser: Denoiser, process: DDPM, latents: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """min-SNR and v weighted squared error of the predicted noise."""
    times = torch.randint(0, process.count, (len(latents),))
    # The lowest eighth of the noise levels weighs little and teaches little: half of its draws go elsewhere.
    again = (times < process.count // 8) & (torch.rand(len(latents)) < 0.5)
    times = torch.where(again, torch.randint(process.count // 8, process.count, (len(latents),)), times)
    epsilon = torch.randn_like(latents)
    prediction = denoiser(process.add_noise(latents, epsilon, times), times, ids).float()
    errors = compute_errors(prediction, epsilon, OBJECTIVE, process, times)
    return (weigh(process, times) * errors.mean(dim=(1, 2, 3))).mean()


def train(part: str, steps: int, batch: int = 32) -> None:
    """Train up to `steps` steps, from the last checkpoint if there is one; then write the folder `sd`.

    Args:
        part: "sd" starts from nothing; "figures" goes on from the folder `sd`, with figures among the things.

    Under torchrun every process takes a batch of its own and the gradients are averaged: two processes of one
    thread draw 1.8 times as many pictures a second as one process of two threads.
    """
    rank = join_processes()
    torch.manual_seed(2)
    tokenizer = write_clip_tokenizer(locate("sd", "tokenizer")) if rank == 0 else None
    wait_for_first()
    tokenizer = tokenizer or CLIPTokenizer.from_pretrained(locate("sd", "tokenizer"))
    denoiser = Denoiser(build_unet(), build_text(len(tokenizer), tokenizer.eos_token_id))
    denoiser.unet.to(memory_format=torch.channels_last)  # 15% faster on a CPU
    if part == "figures":
        before = load_pipeline(locate("sd"))
        denoiser.unet.load_state_dict(before.unet.state_dict())
        denoiser.text.load_state_dict(before.text_encoder.state_dict())
    optimizer, average, state = MuonAndAdamW(denoiser), MovingAverage(denoiser), locate(f"{part}.pt")
    data, empty, process = (
        LatentDataset(tokenizer, SHARES[part]),
        tokenize_empty(tokenizer),
        make_process(build_scheduler().config, "the recipe"),
    )
    losses: list[float] = []
    for step in range(load_state(state, model=denoiser, optimizer=optimizer, average=average), steps):
        rng = seed_step(7919, step, rank)
        optimizer.set_rate(compute_rate(step, steps, PEAKS[part], warmup=200))
        latents, ids = data.sample_batch(batch, rng)
        latents = latents.contiguous(memory_format=torch.channels_last)
        ids[torch.rand(batch) < EMPTY] = empty
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute_loss(denoiser, process, latents, ids)
        denoiser.zero_grad()
        loss.backward()
        average_gradients(denoiser)
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        average.update(denoiser, step)
        losses.append(loss.item())
        if rank:
            continue
        if (step + 1) % 50 == 0:
            print(f"{part} step {step + 1} of {steps}, loss {np.mean(losses[-200:]):.4f}", flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_state(state, step + 1, model=denoiser, optimizer=optimizer, average=average)
    if not rank:
        finish(denoiser, average, tokenizer)


def finish(denoiser: Denoiser, average: MovingAverage, tokenizer) -> None:
    """Write the averaged weights as a StableDiffusionPipeline folder."""
    now = {k: v.clone() for k, v in denoiser.state_dict().items()}
    denoiser.load_state_dict(average.kept)
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(locate("vae")),
        text_encoder=denoiser.text,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(locate("sd"))
    write_clip_tokenizer(locate("sd", "tokenizer"))  # once more: the pipeline saves no vocab.json and merges.txt
    denoiser.load_state_dict(now)


def load_pipeline(folder: Path) -> StableDiffusionPipeline:
    """The pipeline in float32, quiet."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=list(SHARES), required=True)
    parser.add_argument("--steps", type=int, required=True)
    train(**vars(parser.parse_args()))
