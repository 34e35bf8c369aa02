"""CLIP as the judge of pictures (arXiv 2103.00020): unit embeddings of pictures and texts."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel
from transformers.utils import logging as transformers_logging

from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch, telling_no_memory
from lorakiln.console.progress import show_progress
from lorakiln.families.config_ranges import check_folder
from lorakiln.schema.model import Source

ADVICE = "end what else uses the device, or judge on the CPU (evaluate.device=cpu)"


class Clip:
    """A CLIP model with its tokenizer and its picture processor."""

    def __init__(self, model: CLIPModel, tokenizer: Any, processor: Any, device: torch.device) -> None:
        self.model, self.tokenizer, self.processor, self.device = model, tokenizer, processor, device

    @classmethod
    def load(cls, source: Source, device: torch.device) -> "Clip":
        """Load in float32.

        Raises:
            UserError: the folder or hub id holds no CLIP in safetensors.
        """
        transformers_logging.disable_progress_bar()
        where: dict[str, Any] = {"pretrained_model_name_or_path": source.path, "revision": source.revision or "main"}
        local = Path(source.path).expanduser()
        try:
            if local.is_dir():
                check_folder(local)
            model = CLIPModel.from_pretrained(**where, use_safetensors=True, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(**where)
            # The class is named: without torchvision the automatic one falls back with a warning.
            processor = CLIPImageProcessorPil.from_pretrained(**where)
        except UserError:
            raise
        except Exception as error:  # transformers and safetensors raise whatever they like here
            raise UserError(
                f"cannot load CLIP: {(str(error).splitlines() or [type(error).__name__])[0]}",
                where=f"model.clip.path = {source.path}",
                fix="name a hub id or a folder that holds a CLIPModel in safetensors",
            ) from error
        network: torch.nn.Module = model.eval()
        network.to(device)
        return cls(model, tokenizer, processor, device)

    def to(self, device: torch.device) -> "Clip":
        """Itself, on a device."""
        network: torch.nn.Module = self.model
        with telling_no_memory("loading CLIP", ADVICE):
            network.to(device)
        self.device = device
        return self

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
            parts.append(_unit(features.pooler_output))
        return np.concatenate(parts)

    @torch.inference_mode()
    def pictures(
        self,
        paths: Iterable[Path],
        batch_size: int = 32,
        title: str = "judging",
        alter: Callable[[Image.Image], Image.Image] | None = None,
    ) -> np.ndarray:
        """Unit embeddings of picture files, (N, D) float32.

        Args:
            batch_size: looked at at once; halved when the device is out of memory.
            alter: what becomes of each RGB picture before it is looked at.

        Raises:
            UserError: there is no memory for one picture.
        """
        return self._look(paths, self.images, batch_size, title, alter)

    @torch.inference_mode()
    def parts(self, paths: Sequence[Path], batch_size: int = 32, title: str = "looking at details") -> np.ndarray:
        """What the vision tower has of each patch of picture files half of its way up, (N, P, D) float32, unit vectors.

        Lower layers know colours and strokes, the last ones what the whole picture shows; in between stand the parts of
        things, which is where defects are found (PatchCore, arXiv 2106.08265).

        Raises:
            UserError: there is no memory for one picture.
        """
        return self._look(paths, self._embed_patches, batch_size, title)

    def _look(
        self,
        paths: Iterable[Path],
        embed: Callable[[Sequence[Image.Image]], np.ndarray],
        batch_size: int,
        title: str,
        alter: Callable[[Image.Image], Image.Image] | None = None,
    ) -> np.ndarray:
        """What `embed` makes of picture files, batch by batch."""
        left = list(paths)
        parts, at_once = [], Batch(batch_size, title, advice=ADVICE)
        with show_progress(title, len(left)) as bar:
            while left:
                images = [read_picture(path) for path in left[: at_once.size]]
                images = [alter(image) for image in images] if alter else images
                embedded = at_once.attempt(partial(embed, images))
                if embedded is not None:
                    parts.append(embedded)
                    left = left[len(images) :]
                    bar.advance(len(images))
        return np.concatenate(parts)

    def _embed_patches(self, images: Sequence[Image.Image]) -> np.ndarray:
        pixels = self.processor(images=images, return_tensors="pt")["pixel_values"].to(self.device)
        layers = self.model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
        return _unit(layers[len(layers) // 2][:, 1:])  # the first is the class token, no patch

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Unit embeddings of RGB pictures that are in memory, (N, D) float32, in one batch."""
        pixels = self.processor(images=images, return_tensors="pt")["pixel_values"].to(self.device)
        return _unit(self.model.get_image_features(pixel_values=pixels).pooler_output)


def _unit(features: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
