"""The model's work: pictures to latents, captions to embeddings.

All batches have the same shape, the last filled up by repeating: then a picture's bits depend neither on how many
others there are nor on its place among them, and adding one gives the bits that a fresh run gives.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Family

# How a variant is made of the pixels, (B, 3, H, W).
VARIANTS = {"plain": lambda pixels: pixels, "flip": lambda pixels: pixels.flip(-1)}
READERS = 4  # threads that decode a batch's pictures


def encode_pictures(
    family: Family,
    files: Sequence[Path],
    size: tuple[int, int],
    variants: Sequence[str],
    at_once: Batch,
    dtype: torch.dtype,
    done: Callable[[int], object] = lambda count: None,
) -> Iterator[dict[str, Tensor]]:
    """latent_mean and latent_std, each (V, C, h, w), of every file in turn.

    Args:
        done: told how many each batch has given, before they are handed out.

    Raises:
        UserError: a file is no picture of `size` (width, height), or its latents are not finite in `dtype`.
    """
    with ThreadPoolExecutor(READERS) as pool:
        while files:
            batch, count = _filled(files, at_once.size)
            pixels = torch.stack(list(pool.map(lambda file: read_pixels(file, size), batch)))

            def encode(pixels: Tensor = pixels) -> list[Tensor]:
                pairs = [family.encode_pictures(VARIANTS[name](pixels)) for name in variants]
                return [torch.stack(tensors, dim=1).to("cpu", dtype) for tensors in zip(*pairs, strict=True)]

            if encoded := at_once.attempt(encode):
                mean, std = encoded
                check_latents(batch, mean, std)
                done(count)
                yield from ({"latent_mean": mean[i], "latent_std": std[i]} for i in range(count))
                files = files[count:]


def encode_captions(
    family: Family,
    texts: Sequence[str],
    encoding: PromptEncoding,
    at_once: Batch,
    dtype: torch.dtype,
    done: Callable[[int], object] = lambda count: None,
) -> Iterator[dict[str, Tensor]]:
    """The conditioning of every text in turn, without the batch's dimension; `done` as above.

    Raises:
        UserError: a text's conditioning is not finite in `dtype`.
    """
    while texts:
        batch, count = _filled(texts, at_once.size)

        def encode(batch: Sequence[str] = batch) -> dict[str, Tensor]:
            conditioning = family.encode_prompts(batch, encoding)
            return {name: value.to("cpu", dtype) for name, value in conditioning.items()}

        if conditioning := at_once.attempt(encode):
            check_conditioning(batch, conditioning)
            done(count)
            for i in range(count):
                yield {name: value[i] for name, value in conditioning.items()}
            texts = texts[count:]


def read_pixels(file: Path, size: tuple[int, int]) -> Tensor:
    """A picture's pixels, (3, H, W) in [-1, 1]."""
    fix = "it was changed after `prepare`: change the raw picture instead, and run `dvc repro`"
    shades = np.asarray(read_picture(file, fix), dtype=np.float32)
    if shades.shape != (size[1], size[0], 3):
        found = f"{shades.shape[1]}x{shades.shape[0]}"
        raise UserError(f"is {found} pixels, metadata.jsonl says {size[0]}x{size[1]}", where=file, fix=fix)
    return torch.from_numpy(shades / 127.5 - 1).permute(2, 0, 1)


def check_latents(files: Sequence[Path], mean: Tensor, std: Tensor) -> None:
    """Raise UserError that names the files, of which some are repeated, whose latents are NaN or infinite."""
    finite = (torch.isfinite(mean) & torch.isfinite(std)).flatten(1).all(dim=1).tolist()
    broken = list(dict.fromkeys(str(file) for file, good in zip(files, finite, strict=True) if not good))
    if broken:
        raise UserError(
            "the VAE makes NaN or infinite latents of it",
            where=", ".join(broken),
            fix="set encode.dtype to float32, name another VAE in model.vae, or take the picture out",
        )


def check_conditioning(texts: Sequence[str], conditioning: Mapping[str, Tensor]) -> None:
    """Raise UserError that names the first text whose conditioning, (B, ...), is NaN or infinite."""
    finite = torch.stack([value.isfinite().flatten(1).all(dim=1) for value in conditioning.values()]).all(dim=0)
    if broken := [text for text, good in zip(texts, finite.tolist(), strict=True) if not good]:
        raise UserError(
            f"the text encoder makes NaN or infinite numbers of {broken[0]!r}",
            where="model.path",
            fix="encode.device=cpu, where it computes in single precision, with encode.dtype=float32; if it does this "
            "even so, the model is damaged",
        )


def _filled(items: Sequence, size: int) -> tuple[list, int]:
    """The next `size` items, filled up by repeating the last, and how many of them are items."""
    batch = list(items[:size])
    return batch + batch[-1:] * (size - len(batch)), len(batch)
