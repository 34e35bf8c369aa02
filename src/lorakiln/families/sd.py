"""Stable Diffusion 1.x and 2.x: AutoencoderKL, CLIPTextModel, UNet2DConditionModel."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from transformers import CLIPTextModel

from lorakiln.console.errors import UserError
from lorakiln.console.memory import free_memory
from lorakiln.families.clients import client_keys
from lorakiln.families.family import Conditioning, Part, Place
from lorakiln.families.finite import check_finite
from lorakiln.families.layouts import SD
from lorakiln.families.names import kohya_name
from lorakiln.families.part_files import telling_trouble
from lorakiln.families.reading import PLAIN, Reading, chunked, joined, tokens_of
from lorakiln.families.sd_files import Files
from lorakiln.schema.model import ModelSettings

ATTENTION = tuple(f"{attn}.{to}" for attn in ("attn1", "attn2") for to in ("to_q", "to_k", "to_v", "to_out.0"))
NEEDED_BY = {
    "vae": "vae", "text_encoder": "text", "tokenizer": "text", "text_encoder_2": "text", "tokenizer_2": "text",
    "network": "network",
}  # fmt: skip


RESTING = ("vae", "text_encoder", "text_encoder_2")  # not needed by a training step


def load(model: ModelSettings, parts: Collection[Part], device: torch.device, dtype: torch.dtype) -> "StableDiffusion":
    """See `families.load_family`."""
    files = Files.find(model, SD)
    return put_parts(StableDiffusion(files, device, dtype), files, parts, {"text_encoder": CLIPTextModel})


def put_parts(
    family: "StableDiffusion", files: Files, parts: Collection[Part], encoders: Mapping[str, type]
) -> "StableDiffusion":
    """Load what is asked for into `family`: frozen, on its device, checked for numbers that are not finite.

    Args:
        encoders: the text encoders' classes by folder; a tokenizer's folder is named after its encoder's.
    """
    folders = {}
    if "vae" in parts:
        folders["vae"] = files.load(AutoencoderKL, "vae", family.vae_dtype)
    if "text" in parts:
        for folder, kind in encoders.items():
            with quiet():
                folders[folder] = files.load(kind, folder, family.dtype)
            name = folder.replace("text_encoder", "tokenizer")
            setattr(family, name, files.load_tokenizer(name))
    if "network" in parts:
        folders["unet"] = files.load(UNet2DConditionModel, "unet", family.dtype)
    if "vae" in folders and family.device.type != "cpu":
        # One picture at a time inside: eight of 1024 pixels at once need 22 GB to encode and 29 GB to decode.
        folders["vae"].enable_slicing()
    for folder, module in folders.items():
        check_finite(module, files.parts[folder].where)
        setattr(
            family, "network" if folder == "unet" else folder, module.to(family.device).eval().requires_grad_(False)
        )
    return family


class StableDiffusion:
    """One loaded Stable Diffusion; see `families.family.Family` for what its methods promise."""

    name = "sd"

    def __init__(self, files: Files, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.facts = files.facts
        self.prediction_type = files.facts["prediction_type"]
        self.scheduler_config = files.configs["scheduler"]
        self._vae_config, self._text_config = files.configs["vae"], files.configs["text_encoder"]
        # SDXL's VAE overflows in half precision, and its config says so.
        upcast = dtype == torch.float16 and self._vae_config.get("force_upcast")
        self.vae_dtype = torch.float32 if upcast else dtype
        # DDPM reads what concerns the noise schedule of any scheduler's config, zero terminal SNR included.
        noise = {key: value for key, value in self.scheduler_config.items() if key in DDPMScheduler().config}
        with telling_trouble(files.scheduler_file or files.root):
            self.alphas_cumprod: Tensor = DDPMScheduler.from_config(noise).alphas_cumprod.float().to(device)
        if not bool(((self.alphas_cumprod >= 0) & (self.alphas_cumprod <= 1)).all()):
            what = "its noise schedule (beta_start, beta_end, trained_betas) leaves the range from 0 to 1"
            raise UserError(what, where=files.scheduler_file or files.root, fix="download it again")

    def __getattr__(self, name: str) -> Any:
        if name in NEEDED_BY:
            raise AttributeError(f"the family was loaded without its part {NEEDED_BY[name]!r}")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @torch.no_grad()
    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.vae.encode(pixels.to(self.device, self.vae_dtype)).latent_dist
        scale, shift = self._latent_scale()
        return (posterior.mean - shift) * scale, posterior.std * scale

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        scale, shift = self._latent_scale()
        return self.vae.decode(latents.to(self.device, self.vae_dtype) / scale + shift, return_dict=False)[0]

    @contextmanager
    def drawing(self) -> Iterator[None]:
        resting = [self.__dict__[name] for name in RESTING if name in self.__dict__]
        if self.device.type == "cpu":
            yield
            return
        try:
            for module in resting:
                module.to(self.device)
            yield
        finally:
            for module in resting:
                module.to("cpu")
            free_memory()

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        factor = self._factor
        if width % factor or height % factor:
            fix = f"this model's pictures have sides that are multiples of {factor} pixels"
            raise UserError(f"{width}x{height} cannot be drawn", fix=fix)
        return self._vae_config.get("latent_channels", 4), height // factor, width // factor

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str], reading: Reading = PLAIN) -> dict[str, Tensor]:
        clip_skip = reading.clip_skip
        layers = self.text_encoder.config.num_hidden_layers
        if clip_skip >= layers:
            fix = f"set encode.clip_skip below {layers}"
            raise UserError(f"clip_skip {clip_skip}: the text encoder has only {layers} layers", fix=fix)
        ids, mask = chunked(self.tokenizer, prompts, self._length, reading.chunks)
        # As in diffusers: models trained with a mask say so in their config.
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        output = self.text_encoder(
            ids.flatten(0, 1).to(self.device), attention_mask=mask.flatten(0, 1).to(self.device) if masked else None,
            output_hidden_states=clip_skip > 0,
        )  # fmt: skip
        states = output.last_hidden_state
        if clip_skip:
            # The last layer norm follows whatever layer is taken: the network was trained on normalised embeddings.
            encoder = getattr(self.text_encoder, "text_model", self.text_encoder)
            states = encoder.final_layer_norm(output.hidden_states[-(clip_skip + 1)])
        return {"prompt_embeds": joined(states.unflatten(0, ids.shape[:2]), ids, self.tokenizer)}

    def place_conditioning(self, place: Place) -> dict[str, Tensor]:
        return {}

    def count_tokens(self, prompt: str) -> int:
        return len(tokens_of(self.tokenizer, prompt))

    def pieces(self, prompt: str) -> list[str]:
        return [self.tokenizer.decode([token]).strip() for token in tokens_of(self.tokenizer, prompt)]

    def unread(self, prompt: str, chunks: int = 1) -> str:
        return self.tokenizer.decode(tokens_of(self.tokenizer, prompt)[chunks * self.max_tokens :]).strip()

    @property
    def max_tokens(self) -> int:
        return self._length - 2

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        prompt_embeds = conditioning["prompt_embeds"].to(self.device, self.dtype)
        latents, timesteps = noisy_latents.to(self.device, self.dtype), timesteps.to(self.device)
        predicted = self.network(latents, timesteps, prompt_embeds, return_dict=False)[0]
        return predicted.to(noisy_latents.dtype)

    def target_modules(self, preset: str) -> list[str]:
        if preset not in PRESETS:
            raise UserError(
                f"unknown preset {preset!r}",
                where="train.adapter.targets",
                fix=f"known: {', '.join(PRESETS)}",
            )
        return PRESETS[preset](self.network)

    def adaptable(self) -> dict[str, nn.Module]:
        parts = {"unet": "network", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}
        return {part: self.__dict__[name] for part, name in parts.items() if name in self.__dict__}

    def kohya_name(self, module: str) -> str:
        return kohya_name(module, sdxl=False)

    def client_keys(self) -> dict[str, dict[str, str]]:
        parts = self.adaptable()
        return client_keys(parts.pop("unet"), parts, sdxl=self.name == "sdxl")

    def pipeline(self) -> Any:
        with quiet():
            from diffusers import StableDiffusionPipeline

        pipeline = StableDiffusionPipeline(
            vae=self.vae, text_encoder=self.text_encoder, tokenizer=self.tokenizer, unet=self.network,
            scheduler=self.sampler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sampler(self) -> DDIMScheduler:
        """The deterministic sampler; latents are not bounded by 1, as DDIM's default supposes."""
        return DDIMScheduler.from_config(self.scheduler_config, clip_sample=False)

    def _latent_scale(self) -> tuple[float, float]:
        config = self.vae.config
        return config.scaling_factor, config.shift_factor or 0.0

    @property
    def _factor(self) -> int:
        """Pixels along a latent cell's side."""
        return 2 ** (len(self._vae_config["block_out_channels"]) - 1)

    @property
    def _length(self) -> int:
        # A tokenizer whose config lacks the length says 1e30.
        return min(self.tokenizer.model_max_length, self._text_config.get("max_position_embeddings", 77))


@contextmanager
def quiet() -> Iterator[None]:
    """Errors alone from transformers: no bar for every load, no advice about torchvision, which nothing here needs."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def attention_modules(network: nn.Module) -> list[str]:
    """Names, sorted, of the attentions' projections: 128 in Stable Diffusion 1.5."""
    return sorted(name for name, _ in network.named_modules() if name.endswith(ATTENTION))


def kohya_modules(network: nn.Module) -> list[str]:
    """Names, sorted, of what kohya adapts: linear layers and 1x1 convolutions in transformers, 192 in 1.5."""
    return sorted(
        f"{outer}.{inner}"
        for outer, block in network.named_modules()
        if isinstance(block, Transformer2DModel)
        for inner, module in block.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
    )


def locon_modules(network: nn.Module) -> list[str]:
    """kohya's modules and, as with its conv_dim, all linear layers and convolutions of the residual blocks."""
    blocks = (ResnetBlock2D, Downsample2D, Upsample2D)
    residual = {
        f"{outer}.{inner}"
        for outer, block in network.named_modules()
        if isinstance(block, blocks)
        for inner, module in block.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    return sorted({*kohya_modules(network), *residual})


PRESETS = {"attention": attention_modules, "kohya": kohya_modules, "locon": locon_modules}
