"""CLIP as the judge of pictures (arXiv 2103.00020): unit embeddings of pictures and texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from lorakiln.evaluate.picture_model import PictureModel, explaining_unloadable, to_unit
from lorakiln.schema.model import Source


class Clip(PictureModel):
    """A CLIP model with its tokenizer and its picture processor."""

    def __init__(self, model: CLIPModel, tokenizer: Any, processor: Any, device: torch.device) -> None:
        super().__init__("CLIP", model, processor, device)
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, source: Source, device: torch.device) -> "Clip":
        """Load in float32.

        Raises:
            UserError: the folder or hub id holds no CLIP in safetensors.
        """
        fix = "name a hub id or a folder that holds a CLIPModel in safetensors"
        with explaining_unloadable(source, "CLIP", "model.clip", fix) as where:
            model = CLIPModel.from_pretrained(**where, use_safetensors=True, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(**where)
            # The class is named: without torchvision the automatic one falls back with a warning.
            processor = CLIPImageProcessorPil.from_pretrained(**where)
        network: torch.nn.Module = model.eval()
        network.to(device)
        return cls(model, tokenizer, processor, device)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Unit embeddings, (N, D) float32; texts longer than the model reads are cut."""
        longest = self.model.text_model.config.max_position_embeddings
        parts = []
        for start in range(0, len(texts), batch_size):
            batch = self.tokenizer(
                list(texts[start : start + batch_size]),
                padding=True,
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            ).to(self.device)
            features = self.model.get_text_features(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            )
            parts.append(to_unit(features.pooler_output))
        return np.concatenate(parts)

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.get_image_features(pixel_values=pixels).pooler_output
        return features

    def _embed_layers(self, pixels: torch.Tensor) -> tuple[Sequence[torch.Tensor], int]:
        layers = self.model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
        return layers, 1  # the first is the class token, no patch
