"""Stable Diffusion 1.x and 2.x: AutoencoderKL, CLIPTextModel, UNet2DConditionModel."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import torch
import transformers
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from lorakiln.console.errors import UserError
from lorakiln.console.memory import free_memory
from lorakiln.diffusion.processes import make_process
from lorakiln.families.autocast import leave_autocast
from lorakiln.families.cpu_threads import LARGE
from lorakiln.families.learned_words import Words, check_words, put_words
from lorakiln.families.part_files import explaining_load_errors, make_hollow_part
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding, Tokens, list_tokens
from lorakiln.families.protocol import Conditioning, Part, Place
from lorakiln.families.sd.blocks import replacing_blocks
from lorakiln.families.sd.clients import client_keys
from lorakiln.families.sd.drawing import drawing_batch
from lorakiln.families.sd.files import Files
from lorakiln.families.sd.keys import kohya_name
from lorakiln.families.sd.presets import PRESETS, TEXT_PRESETS
from lorakiln.families.sd.versions import LAYOUT
from lorakiln.families.tensor_memory import META, count_held_bytes
from lorakiln.families.upload import upload
from lorakiln.schema.model import ModelSettings

RESTING: frozenset[Part] = frozenset({"vae", "text"})
LENGTH = 77  # tokens of a chunk with begin and end, where a config says none
NEEDED_BY = {
    "vae": "vae",
    "text_encoder": "text",
    "tokenizer": "text",
    "text_encoder_2": "text",
    "tokenizer_2": "text",
    "network": "network",
}


def load(
    model: ModelSettings, parts: Collection[Part], device: torch.device, dtype: torch.dtype, text_dtype: torch.dtype
) -> "StableDiffusion":
    """See `families.load_family`."""
    files = Files.find(model, LAYOUT)
    return put_parts(StableDiffusion(files, device, dtype, text_dtype), files, parts)


def put_parts(family: "StableDiffusion", files: Files, parts: Collection[Part]) -> "StableDiffusion":
    """Load what is asked for into `family`: frozen, on its device, checked for numbers that are not finite."""
    folders: dict[str, Any] = {}
    if "vae" in parts:
        folders["vae"] = files.load(find_vae_class(), "vae", family.vae_dtype)
    if "text" in parts:
        for folder, kind in family.encoders.items():
            with silence_transformers():
                folders[folder] = files.load(kind, folder, family.text_dtype)
            name = folder.replace("text_encoder", "tokenizer")
            setattr(family, name, files.load_tokenizer(name))
    if "network" in parts:
        folders["unet"] = files.load(UNet2DConditionModel, "unet", family.dtype)
    if "vae" in folders and family.device.type != "cpu":
        # One picture at a time inside: eight of 1024 pixels at once need 22 GB to encode and 29 GB to decode.
        folders["vae"].enable_slicing()
    for folder, module in folders.items():
        setattr(
            family, "network" if folder == "unet" else folder, module.to(family.device).eval().requires_grad_(False)
        )
    return family


def find_vae_class() -> type:
    """Imported late: with it come the forty autoencoders of diffusers, and a training that draws nothing needs none."""
    from diffusers import AutoencoderKL

    return AutoencoderKL


class StableDiffusion:
    """One loaded Stable Diffusion; see `families.protocol.Family` for what its methods promise."""

    name, part = LAYOUT.family, LAYOUT.network
    original_keys = False  # whether kohya writes the network's layers as Stability's own code names them
    # By folder; a tokenizer's folder is named after its encoder's.
    encoders: Mapping[str, type] = {"text_encoder": CLIPTextModel}

    def __init__(self, files: Files, device: torch.device, dtype: torch.dtype, text_dtype: torch.dtype) -> None:
        self.device, self.dtype, self.text_dtype = device, dtype, text_dtype
        self.facts = files.facts
        self.configs, self._rests = files.configs, False
        self._present: set[Part] = set()
        self._working: frozenset[Part] = frozenset()
        self._vae_config, self._text_config = files.configs["vae"], files.configs["text_encoder"]
        # SDXL's VAE overflows in half precision, and its config says so.
        upcast = dtype == torch.float16 and self._vae_config.get("force_upcast")
        self.vae_dtype = torch.float32 if upcast else dtype
        where = files.scheduler_file or files.root
        with explaining_load_errors(where):
            self.process = make_process(files.configs["scheduler"], where).to(device)

    def __getattr__(self, name: str) -> Any:
        if name in NEEDED_BY:
            raise AttributeError(f"the family was loaded without its part {NEEDED_BY[name]!r}")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @torch.no_grad()
    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with self.present("vae"):
            posterior = self.vae.encode(pixels.to(self.device, self.vae_dtype)).latent_dist
            scale, shift = self._latent_scale()
            return (posterior.mean - shift) * scale, posterior.std * scale

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        with self.present("vae"):
            scale, shift = self._latent_scale()
            pixels: Tensor = self.vae.decode(
                latents.to(self.device, self.vae_dtype) / scale + shift, return_dict=False
            )[0]
            return pixels

    def rest(self, working: Collection[Part] = ()) -> None:
        self._rests = self.device.type != "cpu"
        self._working = frozenset(working)
        if self._rests:
            for part in RESTING - self._working:
                for module in self._modules_of(part):
                    module.to("cpu")
            free_memory()

    @contextmanager
    def present(self, part: Part) -> Iterator[None]:
        if part in self._working:
            yield
            return
        kind, moved = self.device.type, self._modules_of(part) if self._rests and part not in self._present else []
        try:
            for module in moved:
                module.to(self.device)
            self._present |= {part} if moved else set()
            # The network's autocast is not meant for these: they compute in what they were loaded in.
            with leave_autocast(kind):
                yield
        finally:
            for module in moved:
                module.to("cpu")
            self._present -= {part} if moved else set()
            if moved and kind == "cuda":
                torch.cuda.empty_cache()

    def _modules_of(self, part: Part) -> list[nn.Module]:
        names = ("vae",) if part == "vae" else self.encoders
        return [self.__dict__[name] for name in names if name in self.__dict__]

    def hollow(self, parts: Collection[Part]) -> Self:
        copied = copy.copy(self)
        copied.device, copied.process = META, self.process.to(META)
        copied._rests, copied._present, copied._working = False, set(), frozenset()
        wanted: dict[str, tuple[type, torch.dtype]] = {}
        wanted |= {"vae": (find_vae_class(), self.vae_dtype)} if "vae" in parts else {}
        wanted |= {name: (kind, self.text_dtype) for name, kind in self.encoders.items() if "text" in parts}
        wanted |= {"unet": (UNet2DConditionModel, self.dtype)} if "network" in parts else {}
        for name in NEEDED_BY:
            copied.__dict__.pop(name, None)
        for name, (kind, dtype) in wanted.items():
            setattr(copied, "network" if name == "unet" else name, make_hollow_part(self.configs[name], kind, dtype))
        if "vae" in parts and self.device.type != "cpu":
            copied.vae.enable_slicing()
        return copied

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        factor = self._factor
        if width % factor or height % factor:
            fix = f"this model's pictures have sides that are multiples of {factor} pixels"
            raise UserError(f"{width}x{height} cannot be drawn", fix=fix)
        return self._vae_config.get("latent_channels", 4), height // factor, width // factor

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str], encoding: PromptEncoding = PLAIN) -> dict[str, Tensor]:
        with self.present("text"):
            return self.encode_tokens(self.tokenise(prompts, encoding), encoding)

    def tokenise(self, prompts: Sequence[str], encoding: PromptEncoding = PLAIN) -> dict[str, Tokens]:
        names = {part: getattr(self, part.replace("text_encoder", "tokenizer")) for part in self.encoders}
        return {part: Tokens.of(name, prompts, self._length, encoding.chunks) for part, name in names.items()}

    def make_blank_tokens(self, count: int, encoding: PromptEncoding = PLAIN) -> dict[str, Tokens]:
        length: int = self._text_config.get("max_position_embeddings", LENGTH)
        return {part: Tokens.blank(count, length, encoding.chunks, self.device) for part in self.encoders}

    def encode_tokens(self, tokens: Mapping[str, Tokens], encoding: PromptEncoding = PLAIN) -> dict[str, Tensor]:
        clip_skip = encoding.clip_skip
        layers = self.text_encoder.config.num_hidden_layers
        if clip_skip > layers:
            fix = f"set encode.clip_skip to {layers} at most"
            raise UserError(f"clip_skip {clip_skip}: the text encoder has only {layers} layers", fix=fix)
        told = tokens["text_encoder"]
        # As in diffusers: models trained with a mask say so in their config.
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        output = self.text_encoder(
            upload(told.ids.flatten(0, 1), self.device),
            attention_mask=upload(told.mask.flatten(0, 1), self.device) if masked else None,
            output_hidden_states=clip_skip > 1,
        )
        states = output.last_hidden_state
        if clip_skip > 1:
            # The last layer norm follows whatever layer is taken: the network was trained on normalised embeddings.
            encoder = getattr(self.text_encoder, "text_model", self.text_encoder)
            states = encoder.final_layer_norm(output.hidden_states[-clip_skip])
        return {"prompt_embeds": told.join(states)}

    def know_words(self, words: Words) -> None:
        encoders = {part: getattr(self, part) for part in self.encoders}
        widths = {part: encoder.config.hidden_size for part, encoder in encoders.items()}
        check_words(words, widths, self.max_tokens)
        for part, encoder in encoders.items():
            name = part.replace("text_encoder", "tokenizer")
            setattr(self, name, put_words(encoder, getattr(self, name), part, words))

    def place_conditioning(self, place: Place) -> dict[str, Tensor]:
        return {}

    def count_tokens(self, prompt: str) -> int:
        return len(list_tokens(self.tokenizer, prompt))

    def pieces(self, prompt: str) -> list[str]:
        return [self.tokenizer.decode([token]).strip() for token in list_tokens(self.tokenizer, prompt)]

    def rarity(self, word: str) -> float | None:
        tokens = list_tokens(self.tokenizer, word)
        return tokens[0] / self.tokenizer.vocab_size if len(tokens) == 1 else None

    def unread(self, prompt: str, chunks: int = 1) -> str:
        text: str = self.tokenizer.decode(list_tokens(self.tokenizer, prompt)[chunks * self.max_tokens :])
        return text.strip()

    @property
    def max_tokens(self) -> int:
        return self._length - 2

    def predict(self, noisy_latents: Tensor, times: Tensor, conditioning: Conditioning) -> Tensor:
        prompt_embeds = conditioning["prompt_embeds"].to(self.device, self.dtype)
        latents, times = noisy_latents.to(self.device, self.dtype), times.to(self.device)
        predicted: Tensor = self.network(latents, times, prompt_embeds, return_dict=False)[0]
        return predicted.to(noisy_latents.dtype)

    def drawing(self, guided: bool) -> AbstractContextManager[None]:
        return drawing_batch(self.network, self.vae, guided) if self._fits_any_machine() else nullcontext()

    def training(self) -> AbstractContextManager[None]:
        return replacing_blocks(self.network) if self._fits_any_machine() else nullcontext()

    def _fits_any_machine(self) -> bool:
        """For what no GPU has measured, and what is not in the count of memory."""
        return self.device.type == "cpu" and count_held_bytes(self.network) < LARGE

    def target_modules(self, preset: str, part: str | None = None) -> list[str]:
        text = part in self.encoders
        presets = TEXT_PRESETS if text else PRESETS
        if preset not in presets:
            raise UserError(
                f"unknown preset {preset!r}",
                where="train.text_encoders.targets" if text else "train.adapter.targets",
                fix=f"known: {', '.join(presets)}",
            )
        return presets[preset](self.adaptable()[part or self.part])

    def adaptable(self) -> dict[str, nn.Module]:
        parts = {"unet": "network", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}
        return {part: self.__dict__[name] for part, name in parts.items() if name in self.__dict__}

    def kohya_name(self, module: str) -> str:
        return kohya_name(module)

    def client_keys(self) -> dict[str, dict[str, str]]:
        parts = self.adaptable()
        return client_keys(parts.pop(self.part), parts, self.original_keys)

    def pipeline(self) -> Any:
        with silence_transformers():
            from diffusers import StableDiffusionPipeline

        pipeline: Any = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.network,
            scheduler=self.process.make_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _latent_scale(self) -> tuple[float, float]:
        config = self.vae.config
        return config.scaling_factor, config.shift_factor or 0.0

    @property
    def _factor(self) -> int:
        """Pixels along a latent cell's side."""
        return int(2 ** (len(self._vae_config["block_out_channels"]) - 1))

    @property
    def _length(self) -> int:
        # A tokenizer whose config lacks the length says 1e30; in JSON it may be 77.0.
        length = int(self.tokenizer.model_max_length)
        positions: int = self._text_config.get("max_position_embeddings", LENGTH)
        return min(length, positions)


@contextmanager
def silence_transformers() -> Iterator[None]:
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
