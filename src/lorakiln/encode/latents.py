"""Pictures, as the VAE encodes them; see `console.memory.Batch.fill` about the bits."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch
from lorakiln.encode.colour_changes import ColourChange, change_colours
from lorakiln.encode.variants import OpenPicture, ViewedPicture, to_pixels
from lorakiln.families.protocol import Family

READERS = 4  # threads that decode a batch's pictures


def encode_pictures(
    family: Family,
    pictures: Sequence[ViewedPicture],
    size: tuple[int, int],
    flip: bool,
    at_once: Batch,
    dtype: torch.dtype,
    done: Callable[[int], object] = lambda count: None,
) -> Iterator[dict[str, Tensor]]:
    """latent_mean and latent_std, each (V, C, h, w), of every picture in turn; its variants are its views, each
    followed by its mirror image if there is one.

    Args:
        pictures: all with as many views.
        done: told how many each batch has given, before they are handed out.

    Raises:
        UserError: a file is no picture, the prepared one not of `size` (width, height), or its latents are not finite
            in `dtype`.
    """
    with ThreadPoolExecutor(READERS) as pool:
        while pictures:
            batch, count = at_once.fill(pictures)
            opened = list(pool.map(lambda picture: picture.open(size), batch))

            def encode(opened: list[OpenPicture] = opened) -> list[Tensor]:
                pairs = [family.encode_pictures(pixels) for pixels in view_pictures(opened, flip)]
                return [torch.stack(tensors, dim=1).to("cpu", dtype) for tensors in zip(*pairs, strict=True)]

            if encoded := at_once.attempt(encode):
                mean, std = encoded
                check_latents([picture.file for picture in batch], mean, std)
                done(count)
                yield from ({"latent_mean": mean[i], "latent_std": std[i]} for i in range(count))
                pictures = pictures[count:]


def view_pictures(opened: Sequence[OpenPicture], flip: bool) -> Iterator[Tensor]:
    """The pictures' variants in their order, each (B, 3, H, W) in [-1, 1]; see `ViewedPicture.mirrored`."""
    for number in range(len(opened[0].views)):
        pixels = torch.stack([to_pixels(picture.crop(number)) for picture in opened])
        colours = [picture.views[number].colour for picture in opened]
        if any(colours):
            # In batches of one shape here too; those without a change stay as they are, to the bit.
            changed = change_colours(pixels, [one or ColourChange() for one in colours])
            pixels = torch.where(torch.tensor([one is None for one in colours])[:, None, None, None], pixels, changed)
        yield pixels
        if flip:
            mirrored = [one.flip(-1) if it.mirrored else one for one, it in zip(pixels, opened, strict=True)]
            yield torch.stack(mirrored)


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
