"""Stable Diffusion XL: two text encoders, a pooled text, and the picture's size and crop (arXiv 2307.01952)."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from lorakiln.console.errors import UserError
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding, Tokens
from lorakiln.families.protocol import Conditioning, Part, Place
from lorakiln.families.sd.files import Files
from lorakiln.families.sd.model import StableDiffusion, put_parts, silence_transformers
from lorakiln.families.sdxl.keys import kohya_name
from lorakiln.families.sdxl.versions import LAYOUT
from lorakiln.families.upload import upload
from lorakiln.schema.model import ModelSettings


def load(
    model: ModelSettings, parts: Collection[Part], device: torch.device, dtype: torch.dtype, text_dtype: torch.dtype
) -> "StableDiffusionXL":
    """See `families.load_family`."""
    files = Files.find(model, LAYOUT)
    family = StableDiffusionXL(files, device, dtype, text_dtype)
    put_parts(family, files, parts)
    return family


class StableDiffusionXL(StableDiffusion):
    """One loaded SDXL base model; see `families.protocol.Family` for what its methods promise."""

    name, part = LAYOUT.family, LAYOUT.network
    original_keys = True
    encoders = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}

    def encode_tokens(self, tokens: Mapping[str, Tokens], encoding: PromptEncoding = PLAIN) -> dict[str, Tensor]:
        """prompt_embeds (B, L, D1 + D2): both encoders' last layer but one (with clip_skip 2 the one before it), with
        no last norm; pooled_embeds (B, P): the second encoder's projected end-of-text state, of the first chunk."""
        states, clip_skip = [], encoding.clip_skip
        for part, encoder in ((part, getattr(self, part)) for part in self.encoders):
            layers = encoder.config.num_hidden_layers
            if clip_skip >= layers:
                fix = f"set encode.clip_skip below {layers}"
                raise UserError(f"clip_skip {clip_skip}: a text encoder has only {layers} layers", fix=fix)
            told = tokens[part]
            output = encoder(upload(told.ids.flatten(0, 1), self.device), output_hidden_states=True)
            states.append(told.join(output.hidden_states[-(clip_skip + 1)]))
        pooled = output.text_embeds.unflatten(0, told.ids.shape[:2])[:, 0]
        return {"prompt_embeds": torch.cat(states, dim=-1), "pooled_embeds": pooled}

    def place_conditioning(self, place: Place) -> dict[str, Tensor]:
        """time_ids (6,): source height and width, crop's top and left, height and width, in pixels."""
        return {"time_ids": torch.tensor(place, dtype=torch.float32)}

    def predict(self, noisy_latents: Tensor, times: Tensor, conditioning: Conditioning) -> Tensor:
        """Without time_ids the pictures count as whole ones of their own size."""
        latents, times = noisy_latents.to(self.device, self.dtype), times.to(self.device)
        time_ids = conditioning.get("time_ids")
        if time_ids is None:
            height, width = (edge * self._factor for edge in latents.shape[-2:])
            # Made where it is needed: an upload in every step of drawing would wait for the step before.
            whole = torch.zeros(1, 6, device=self.device)
            whole[:, 0::4].fill_(height)
            whole[:, 1::4].fill_(width)
            time_ids = whole.expand(len(latents), -1)
        added = {
            "text_embeds": conditioning["pooled_embeds"].to(self.device, self.dtype),
            # Sizes go beyond what half precision counts exactly.
            "time_ids": time_ids.to(self.device, torch.float32),
        }
        predicted: Tensor = self.network(
            latents,
            times,
            conditioning["prompt_embeds"].to(self.device, self.dtype),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return predicted.to(noisy_latents.dtype)

    def kohya_name(self, module: str) -> str:
        return kohya_name(module)

    def pipeline(self) -> Any:
        with silence_transformers():
            from diffusers import StableDiffusionXLPipeline

        pipeline: Any = StableDiffusionXLPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.network,
            text_encoder_2=self.text_encoder_2,
            tokenizer_2=self.tokenizer_2,
            scheduler=self.process.make_scheduler(),
            add_watermarker=False,
            force_zeros_for_empty_prompt=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
