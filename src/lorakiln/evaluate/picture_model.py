"""A model that looks at pictures: what CLIP and the models of likeness have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from transformers.utils import logging as transformers_logging

from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch, explaining_no_memory
from lorakiln.console.progress import show_progress
from lorakiln.families.config_ranges import check_folder
from lorakiln.schema.model import Source

ADVICE = "end what else uses the device, or judge on the CPU (evaluate.device=cpu)"


@contextmanager
def explaining_unloadable(source: Source, title: str, setting: str, fix: str) -> Iterator[dict[str, Any]]:
    """While a model is loaded: the arguments of transformers' `from_pretrained` that say where it is.

    Args:
        setting: that names it, for messages.

    Raises:
        UserError: it cannot be loaded, or its settings are out of all reason.
    """
    transformers_logging.disable_progress_bar()
    local = Path(source.path).expanduser()
    try:
        if local.is_dir():
            check_folder(local)
        yield {"pretrained_model_name_or_path": source.path, "revision": source.revision or "main"}
    except UserError:
        raise
    except Exception as error:  # transformers and safetensors raise whatever they like here
        what = (str(error).splitlines() or [type(error).__name__])[0]
        if "torchvision" in str(error).lower():
            what = "its pictures are processed by torchvision alone, which is not used here"
        raise UserError(f"cannot load {title}: {what}", where=f"{setting}.path = {source.path}", fix=fix) from error


class PictureModel(ABC):
    """Unit embeddings of pictures, and of their patches.

    Args:
        title: what people call it.
        network: in float32, on the device.
        processor: of transformers, with Pillow alone.
    """

    def __init__(self, title: str, network: Any, processor: Any, device: torch.device) -> None:
        self.title, self.model, self.processor, self.device = title, network, processor, device

    def to(self, device: torch.device) -> Self:
        """Itself, on a device.

        Raises:
            UserError: there is no memory for it.
        """
        network: torch.nn.Module = self.model
        with explaining_no_memory(f"loading {self.title}", ADVICE):
            network.to(device)
        self.device = device
        return self

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
        """What it has of each patch of picture files half of its way up, (N, P, D) float32, unit vectors.

        Lower layers know colours and strokes, the last ones what the whole picture shows; in between stand the parts of
        things, which is where defects are found (PatchCore, arXiv 2106.08265).

        Raises:
            UserError: there is no memory for one picture.
        """
        return self._look(paths, self._embed_patches, batch_size, title)

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Unit embeddings of RGB pictures that are in memory, (N, D) float32, in one batch."""
        return to_unit(self._embed(self._process(images)))

    @abstractmethod
    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) as the processor makes them -> (N, D)."""

    @abstractmethod
    def _embed_layers(self, pixels: torch.Tensor) -> tuple[Sequence[torch.Tensor], int]:
        """(N, 3, H, W) -> what goes into each layer and what comes out of the last, (N, T, D), and how many of the T
        come before the patches.
        """

    def _embed_patches(self, images: Sequence[Image.Image]) -> np.ndarray:
        layers, before = self._embed_layers(self._process(images))
        return to_unit(layers[len(layers) // 2][:, before:])

    def _process(self, images: Sequence[Image.Image]) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(images=images, return_tensors="pt")["pixel_values"]
        return pixels.to(self.device)

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


def to_unit(features: torch.Tensor) -> np.ndarray:
    """(..., D) -> the same in float32, of length 1."""
    return torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
