"""Train the tiny Stable Diffusion: UNet and text encoder together, on latents, predicting the noise."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from recipes.tiny.latents import Shelf, empty_ids
from recipes.tiny.paths import work
from recipes.tiny.together import average_gradients, join_others, wait_for_first
from recipes.tiny.tokens import LENGTH, clip_tokenizer
from recipes.tiny.training import Both, load_state, rate, save_state, seed_step

EMPTY = 0.1  # share of captions dropped, so that guidance has an unconditional prediction
GAMMA = 5.0  # min-SNR's cap (Hang et al. 2023, eq. 7): weight min(snr, gamma) / snr on the noise error

SHARES = {"sd": 0.0, "figures": 0.45}  # of figures among the pictures
PEAKS = {"sd": 1e-3, "figures": 5e-4}  # learning rates after the warmup
STEEPEST = 15.0  # cap on the weight's rise towards pure noise


def scheduler() -> DDIMScheduler:
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


class Pair(nn.Module):
    """UNet and text encoder as one module, so that one optimizer and one average hold both."""

    def __init__(self, unet: UNet2DConditionModel, text: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text = unet, text

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The noise (n, 8, h, w) in noisy latents at integer times (n,), told by token ids (n, 32)."""
        return self.unet(noisy, times, self.text(ids).last_hidden_state).sample


class Average:
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


def weight(kept: torch.Tensor) -> torch.Tensor:
    """Weight (n,) of the squared noise error at alphas_cumprod `kept` (n,).

    min-SNR's fall where there is little noise, and v-prediction's rise where there is much (capped): in a picture
    as small as this the thing and the background colour are decided there, and the plain loss hardly sees it.
    """
    snr = kept / (1 - kept)
    return snr.clamp(max=GAMMA) / snr * ((1 + snr) / snr).clamp(max=STEEPEST) / 4


def loss_of(pair: Pair, alphas: torch.Tensor, latents: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """min-SNR and v weighted squared error of the predicted noise."""
    times = torch.randint(0, len(alphas), (len(latents),))
    # The lowest eighth of the noise levels weighs little and teaches little: half of its draws go elsewhere.
    again = (times < len(alphas) // 8) & (torch.rand(len(latents)) < 0.5)
    times = torch.where(again, torch.randint(len(alphas) // 8, len(alphas), (len(latents),)), times)
    kept = alphas[times].view(-1, 1, 1, 1)
    noise = torch.randn_like(latents)
    guess = pair(kept.sqrt() * latents + (1 - kept).sqrt() * noise, times, ids).float()
    return (weight(alphas[times]) * F.mse_loss(guess, noise, reduction="none").mean(dim=(1, 2, 3))).mean()


def train(part: str, steps: int, batch: int = 32) -> None:
    """Train up to `steps` steps, from the last checkpoint if there is one; then write the folder `sd`.

    Args:
        part: "sd" starts from nothing; "figures" goes on from the folder `sd`, with figures among the things.

    Under torchrun every process takes a batch of its own and the gradients are averaged: two processes of one
    thread draw 1.8 times as many pictures a second as one process of two threads.
    """
    rank = join_others()
    torch.manual_seed(2)
    tokenizer = clip_tokenizer(work("sd", "tokenizer")) if rank == 0 else None
    wait_for_first()
    tokenizer = tokenizer or CLIPTokenizer.from_pretrained(work("sd", "tokenizer"))
    pair = Pair(build_unet(), build_text(len(tokenizer), tokenizer.eos_token_id))
    pair.unet.to(memory_format=torch.channels_last)  # 15% faster on a CPU
    if part == "figures":
        before = load_pipeline(work("sd"))
        pair.unet.load_state_dict(before.unet.state_dict())
        pair.text.load_state_dict(before.text_encoder.state_dict())
    optimizer, average, state = Both(pair), Average(pair), work(f"{part}.pt")
    shelf, empty, alphas = Shelf(tokenizer, SHARES[part]), empty_ids(tokenizer), scheduler().alphas_cumprod
    losses: list[float] = []
    for step in range(load_state(state, model=pair, optimizer=optimizer, average=average), steps):
        rng = seed_step(7919, step, rank)
        optimizer.set_rate(rate(step, steps, PEAKS[part], warmup=200))
        latents, ids = shelf.batch(batch, rng)
        latents = latents.contiguous(memory_format=torch.channels_last)
        ids[torch.rand(batch) < EMPTY] = empty
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(pair, alphas, latents, ids)
        pair.zero_grad()
        loss.backward()
        average_gradients(pair)
        torch.nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
        optimizer.step()
        average.update(pair, step)
        losses.append(loss.item())
        if rank:
            continue
        if (step + 1) % 50 == 0:
            print(f"{part} step {step + 1} of {steps}, loss {np.mean(losses[-200:]):.4f}", flush=True)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            save_state(state, step + 1, model=pair, optimizer=optimizer, average=average)
    if not rank:
        finish(pair, average, tokenizer)


def finish(pair: Pair, average: Average, tokenizer) -> None:
    """Write the averaged weights as a StableDiffusionPipeline folder."""
    now = {k: v.clone() for k, v in pair.state_dict().items()}
    pair.load_state_dict(average.kept)
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work("vae")),
        text_encoder=pair.text,
        tokenizer=tokenizer,
        unet=pair.unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(work("sd"))
    clip_tokenizer(work("sd", "tokenizer"))  # once more: the pipeline saves no vocab.json and merges.txt
    pair.load_state_dict(now)


def load_pipeline(folder: Path) -> StableDiffusionPipeline:
    """The pipeline in float32, quiet."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def draw(
    pipe: StableDiffusionPipeline,
    prompts: Sequence[str],
    seed: int,
    size: tuple[int, int] = (64, 64),
    guidance: float = 4.0,
    steps: int = 20,
    batch: int = 32,
) -> list[np.ndarray]:
    """One uint8 picture (h, w, 3) per prompt."""
    made = []
    for start in range(0, len(prompts), batch):
        part = list(prompts[start : start + batch])
        seeds = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        images = pipe(
            part,
            width=size[0],
            height=size[1],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=seeds,
            output_type="np",
        ).images
        made += list((images * 255).round().astype(np.uint8))
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=list(SHARES), required=True)
    parser.add_argument("--steps", type=int, required=True)
    train(**vars(parser.parse_args()))
