"""The loops that `gpu` sets beside each other: a step of ours, of the bare loop, and of diffusers' script."""

import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.memory import ARCHITECTURES, SIDES, base_of, settings_of
from lorakiln.adapters.targets import list_target_names
from lorakiln.train.adapter_placement import inject_adapter
from lorakiln.train.devices import make_trainer
from lorakiln.train.encoded_dataset import Bucket, EncodedDataset
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.precision import choose_precision
from lorakiln.train.share import Share

PICTURES = 16
WARM = 3  # steps before the clock counts
# What makes a part narrow, where only the code is tried.
TINY: dict[str, dict[str, Any]] = {
    "vae": {"block_out_channels": [32] * 4, "layers_per_block": 1},
    "text": {"num_hidden_layers": 2, "vocab_size": 600},
    "sd1": {"block_out_channels": [32, 64, 64, 64], "layers_per_block": 1},
    "sdxl": {
        "block_out_channels": [32, 64, 64],
        "layers_per_block": 1,
        "attention_head_dim": [1, 2, 2],
        "transformer_layers_per_block": 1,
    },
}


@dataclass(frozen=True)
class Wanted:
    """What is measured: a base, how many pictures at once, where and how."""

    kind: str
    batch: int
    device: torch.device
    seconds: float
    tiny: bool

    @property
    def side(self) -> int:
        return 64 if self.tiny else SIDES[self.kind]

    @property
    def share(self) -> Share:
        precision = choose_precision("auto", self.device)
        return Share(bf16=precision == "bf16", fp16=precision == "fp16")

    @property
    def dtype(self) -> torch.dtype:
        return self.share.half or torch.float32

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.share.half or torch.bfloat16, enabled=self.share.half is not None)

    def make(self, part: str) -> Any:
        """A part of the base with torch's first weights, frozen, on the device."""
        config = dict(ARCHITECTURES[self.kind].parts[part])
        short = "text" if part.startswith("text") else part
        if self.tiny:
            config |= TINY[self.kind if short == "unet" else short]
        # SDXL's VAE overflows in half precision.
        dtype = torch.float32 if part == "vae" and self.kind == "sdxl" else self.dtype
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with self.device:
                if short == "text":
                    made = CLIPTextModelWithProjection if part.endswith("_2") else CLIPTextModel
                    return made(CLIPTextConfig(**config)).eval().requires_grad_(False)
                made = UNet2DConditionModel if part == "unet" else AutoencoderKL
                return made.from_config(config).eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(before)

    def make_dataset(self) -> EncodedDataset:
        """As `encode` leaves it, on the device."""
        shape = (PICTURES, 1, 4, self.side // 8, self.side // 8)
        mean, std = torch.randn(shape, device=self.device), torch.full(shape, 0.1, device=self.device)
        unet = ARCHITECTURES[self.kind].parts["unet"]
        conditioning = {"prompt_embeds": torch.randn(PICTURES, 77, unet["cross_attention_dim"], device=self.device)}
        if self.kind == "sdxl":
            conditioning["pooled_embeds"] = torch.randn(PICTURES, 1280, device=self.device)
            conditioning["time_ids"] = torch.tensor(
                [[self.side, self.side, 0, 0, self.side, self.side]] * PICTURES
            ).float()
            conditioning["time_ids"] = conditioning["time_ids"].to(self.device)
        return EncodedDataset(
            [Bucket("", [], mean, std, conditioning)], {name: value[:1] for name, value in conditioning.items()}
        )


@dataclass
class Clock:
    """Told of the beginning and of the end of each step, says when it is enough.

    Attributes:
        first: seconds that the first step took, with all that is made at its beginning.
        rate: steps per second of those after WARM.
    """

    device: torch.device
    seconds: float
    first: float = 0.0
    rate: float = 0.0
    _steps: int = 0
    _at: float = 0.0

    def begin(self) -> None:
        self._at = self._read()

    def tick(self) -> bool:
        self._steps += 1
        if self._steps in (1, WARM):
            now = self._read()
            self.first, self._at = self.first or now - self._at, now
        elif self._steps > WARM and time.perf_counter() - self._at >= self.seconds:
            self.rate = (self._steps - WARM) / (self._read() - self._at)
        return bool(self.rate)

    def _read(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def run_ours(wanted: Wanted, clock: Clock) -> None:
    """The product's module under its own trainer."""
    import lightning.pytorch as pl

    settings = settings_of(wanted.batch, checkpointing=False)
    on = settings.trainer.model_copy(update={"accelerator": "gpu" if wanted.device.type == "cuda" else "cpu"})
    settings = settings.model_copy(update={"trainer": on})
    family = base_of(wanted.kind, wanted.dtype, wanted.device)
    family.process = family.process.to(wanted.device)
    family.network = wanted.make("unet").to(memory_format=torch.channels_last)
    inject_adapter(family, settings.adapter, list_target_names(family, settings.adapter.targets), settings.seed)
    module = LoraModule(family, wanted.make_dataset(), [list(range(PICTURES))], settings, wanted.share)

    class ReadLosses(pl.Callback):
        """Reads the losses as the product's callback does."""

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if module.done % settings.tracker.log_every == 0:
                module.step_losses.read()
            trainer.should_stop = clock.tick()

    trainer = make_trainer(settings)
    trainer.callbacks.append(ReadLosses())
    clock.begin()
    trainer.fit(module)


class Plain:
    """What the bare loop and the script have in common: diffusers' network, peft's LoRA, and torch's AdamW."""

    def __init__(self, wanted: Wanted, fused: bool) -> None:
        self.wanted, self.network = wanted, wanted.make("unet").train()
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        self.network.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=targets))
        self.weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        for weight in self.weights:
            weight.data = weight.data.float()
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4, fused=fused or None)
        # Stable Diffusion's noise, "scaled_linear".
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, device=wanted.device) ** 2
        self.kept = (1 - betas).cumprod(0)
        # A step with float16 would scale its loss, which costs nothing beside the network.
        self.scaler = torch.amp.GradScaler(wanted.device.type, enabled=wanted.share.fp16)

    def learn(self, latents: Tensor, conditioning: dict[str, Tensor]) -> Tensor:
        """A step on clean latents; the loss, on the device."""
        noise, times = torch.randn_like(latents), torch.randint(1000, (len(latents),), device=latents.device)
        kept = self.kept[times].view(-1, 1, 1, 1)
        noisy = (kept.sqrt() * latents + (1 - kept).sqrt() * noise).to(self.wanted.dtype)
        more = {}
        if "time_ids" in conditioning:
            more["added_cond_kwargs"] = {
                "text_embeds": conditioning["pooled_embeds"],
                "time_ids": conditioning["time_ids"],
            }
        with self.wanted.autocast():
            predicted = self.network(noisy, times, conditioning["prompt_embeds"], **more).sample
        loss = F.mse_loss(predicted.float(), noise.float())
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return loss.detach()


def run_bare(wanted: Wanted, clock: Clock) -> int:
    """The bare loop; the floating-point operations of a step."""
    plain, bucket = Plain(wanted, fused=True), wanted.make_dataset().buckets[0]

    def step() -> None:
        rows = torch.randint(PICTURES, (wanted.batch,), device=wanted.device)
        mean, std = bucket.mean[rows, 0], bucket.std[rows, 0]
        conditioning = {name: value[rows].to(wanted.dtype) for name, value in bucket.conditioning.items()}
        plain.learn(mean + std * torch.randn_like(mean), conditioning)

    clock.begin()
    step()
    while not clock.tick():
        step()
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def run_script(wanted: Wanted, clock: Clock) -> None:
    """The step of diffusers' script, from pictures and tokens."""
    plain, vae = Plain(wanted, fused=False), wanted.make("vae")
    names = [name for name in ARCHITECTURES[wanted.kind].parts if name.startswith("text_encoder")]
    encoders = [wanted.make(name) for name in names]
    pictures = torch.rand(PICTURES, 3, wanted.side, wanted.side) * 2 - 1
    tokens = torch.randint(500, (PICTURES, 77))

    def encode(ids: Tensor) -> dict[str, Tensor]:
        if len(encoders) == 1:
            return {"prompt_embeds": encoders[0](ids)[0]}
        outputs = [encoder(ids, output_hidden_states=True) for encoder in encoders]
        place = torch.tensor([[wanted.side, wanted.side, 0, 0, wanted.side, wanted.side]] * len(ids))
        return {
            "prompt_embeds": torch.cat([output.hidden_states[-2] for output in outputs], dim=-1),
            "pooled_embeds": outputs[1].text_embeds,
            "time_ids": place.to(wanted.device),
        }

    def step() -> None:
        rows = torch.randint(PICTURES, (wanted.batch,))
        with torch.no_grad():
            pixels = pictures[rows].to(wanted.device, vae.dtype)
            latents = vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor
            conditioning = encode(tokens[rows].to(wanted.device))
        plain.learn(latents, conditioning).item()

    clock.begin()
    step()
    while not clock.tick():
        step()
