"""The least that a training of the same LoRA does: what `training_step` sets all programs against.

    python -m benchmarks.bare_loop MODEL ENCODED OUT --steps N --seed S

diffusers' UNet, peft's LoRA of rank 16 on the attention, latents and embeddings from a file that `encode` wrote, fused
AdamW. It clips nothing, reads no loss, logs and saves nothing on the way; nothing of LoRAKiln is imported.
"""

import argparse
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

BATCH, RANK, RATE = 4, 16, 1e-4
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder in diffusers' layout")
    parser.add_argument("encoded", type=Path, help="a bucket's .safetensors")
    parser.add_argument("out", type=Path, help="a folder for the LoRA's file")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    kept = load_file(given.encoded)
    mean, std, texts = (kept[name].float() for name in ("latent_mean", "latent_std", "prompt_embeds"))
    pictures = torch.normal(mean[:, 0], std[:, 0])
    unet = UNet2DConditionModel.from_pretrained(given.model / "unet", torch_dtype=torch.float32)
    unet.requires_grad_(False).train()
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01, fused=True)
    schedule = DDPMScheduler.from_pretrained(given.model / "scheduler")
    for _ in range(given.steps):
        rows = torch.randint(len(pictures), (BATCH,))
        times = torch.randint(schedule.config.num_train_timesteps, (BATCH,))
        noise = torch.randn_like(pictures[rows])
        noisy = schedule.add_noise(pictures[rows], noise, times)
        predicted = unet(noisy, times, encoder_hidden_states=texts[rows]).sample
        torch.nn.functional.mse_loss(predicted, noise).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    given.out.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in get_peft_model_state_dict(unet).items()}
    save_file(tensors, given.out / "lora.safetensors")


if __name__ == "__main__":
    main()
