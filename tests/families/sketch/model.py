"""One loaded Sketch; see `families.protocol.Family` for what its methods promise."""

import copy
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.diffusion.processes import make_process
from lorakiln.families.identity import identify
from lorakiln.families.prompt_encoding import PLAIN
from tests.families.sketch import NETWORK, kohya_name, layout, versions

STEPS, CELL, LETTERS, LENGTH = 50, 4, "abcdefghijklmnopqrstuvwxyz ", 12
NOISE = {
    "num_train_timesteps": STEPS,
    "beta_start": 0.01,
    "beta_end": 0.2,
    "prediction_type": "v_prediction",
    "clip_sample": False,
}


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.read, self.mix = nn.Linear(len(LETTERS) + 2, width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        return x + F.silu(self.mix(x) + self.read(told)[..., None, None])


class Drawer(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, width, 1), nn.Conv2d(width, 3, 1)
        self.blocks = nn.ModuleList([Block(width), Block(width)])

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, told)
        return self.head(x)


def write_sketch(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        save_tensors(folder / NETWORK / "model.safetensors", Drawer().state_dict())


def load(model, parts, device, dtype, text_dtype) -> "Sketch":
    return Sketch(model, parts, device, dtype)


class Sketch:
    name, part = layout.family, layout.network
    presets = {
        "attention": ["blocks.0.read", "blocks.1.read"],
        "kohya": ["blocks.0.mix", "blocks.0.read", "blocks.1.mix", "blocks.1.read"],
    }
    max_tokens = LENGTH

    def __init__(self, model, parts, device, dtype) -> None:
        file = Path(model.path) / NETWORK / "model.safetensors"
        self.device, self.dtype = device, dtype
        self.facts = {
            "family": self.name,
            "path": model.path,
            "revision": "",
            "hash": identify([(NETWORK, file)]),
            "prediction_type": "v_prediction",
            "version": versions[0].kohya,
        }
        self.process = make_process({"_class_name": "DDIMScheduler", **NOISE}).to(device)
        if "network" in parts:
            self.network = Drawer()
            self.network.load_state_dict(load_tensors(file)[0])
            self.network.to(device, dtype).eval().requires_grad_(False)

    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean = F.avg_pool2d(pixels.to(self.device, torch.float32), CELL)
        return mean, torch.full_like(mean, 0.01)

    def decode_latents(self, latents: Tensor) -> Tensor:
        return F.interpolate(latents.float(), scale_factor=CELL, mode="nearest")

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        if width % CELL or height % CELL:
            raise UserError(f"{width}x{height} cannot be drawn", fix=f"multiples of {CELL}")
        return 3, height // CELL, width // CELL

    def encode_prompts(self, prompts, encoding=PLAIN) -> dict[str, Tensor]:
        told = torch.zeros(len(prompts), LENGTH, len(LETTERS))
        for row, prompt in enumerate(prompts):
            for at, piece in enumerate(self.pieces(prompt)[:LENGTH]):
                told[row, at, LETTERS.index(piece)] = 1.0
        return {"prompt_embeds": told.to(self.device, self.dtype)}

    def place_conditioning(self, place) -> dict[str, Tensor]:
        return {"shape_told": torch.tensor([place[4] / 100, place[5] / 100])}

    def pieces(self, prompt: str) -> list[str]:
        return [letter for letter in prompt.lower() if letter in LETTERS]

    def count_tokens(self, prompt: str) -> int:
        return len(self.pieces(prompt))

    def rarity(self, word: str) -> float | None:
        return LETTERS.index(word) / len(LETTERS) if word in LETTERS else None

    def unread(self, prompt: str, chunks: int = 1) -> str:
        return "".join(self.pieces(prompt)[chunks * LENGTH :]).strip()

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, conditioning) -> Tensor:
        letters = conditioning["prompt_embeds"].to(self.device, self.dtype).mean(1)
        height, width = (side * CELL / 100 for side in noisy_latents.shape[-2:])
        shape = conditioning.get("shape_told", torch.tensor([[height, width]]).expand(len(letters), -1))
        told = torch.cat([letters, shape.to(self.device, self.dtype)], dim=1)
        told = told * (1 - timesteps.to(told)[:, None] / STEPS)
        return self.network(noisy_latents.to(self.device, self.dtype), told).to(noisy_latents.dtype)

    def drawing(self, guided: bool):
        return nullcontext()

    def training(self):
        return nullcontext()

    def target_modules(self, preset: str, part=None) -> list[str]:
        if preset not in self.presets:
            raise UserError(f"unknown preset {preset!r}", where="train.adapter.targets", fix="attention, kohya")
        return self.presets[preset]

    def rest(self, working=()) -> None:
        pass  # it has no part but the network

    def present(self, part):
        return nullcontext()

    def hollow(self, parts) -> "Sketch":
        copied = copy.copy(self)
        copied.device = torch.device("meta")
        copied.network = Drawer().to("meta", self.dtype).eval().requires_grad_(False)
        return copied

    def adaptable(self) -> dict[str, nn.Module]:
        return {self.part: self.network}

    def kohya_name(self, module: str) -> str:
        return kohya_name(module)

    def client_keys(self) -> dict[str, dict[str, str]]:
        layers = [n for n, m in self.network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        return {"kohya": {kohya_name(f"{self.part}.{name}"): f"{self.part}.{name}" for name in layers}}
