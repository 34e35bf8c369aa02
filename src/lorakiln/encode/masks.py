"""What of a picture is to be learned, cell by cell of its latents."""

import numpy as np
import torch
from torch import Tensor

from lorakiln.encode.variants import ViewedPicture

DTYPE = torch.float16  # a cell of 8 x 8 pixels has 16,321 values, and how much one weighs is no matter of a thousandth


def encode_mask(viewed: ViewedPicture, size: tuple[int, int], cells: tuple[int, int], flip: bool) -> Tensor:
    """(V, h, w) in [0, 1]: of each cell the mean of the mask's pixels in it (as in sd-scripts, apply_masked_loss), in
    the views that the picture has, each followed by its mirror image if there is one.

    Args:
        viewed: a picture; without a mask all of it is to be learned.
        size: of its bucket, (width, height), pixels.
        cells: (h, w) of its latents.

    Raises:
        UserError: a file is no picture, or not of its size.
    """
    count = len(viewed.views)
    if viewed.mask is None:
        return torch.ones(count * (2 if flip else 1), *cells, dtype=DTYPE)
    opened, made = viewed.open_mask(size), []
    for number in range(count):
        shades = torch.from_numpy(np.asarray(opened.cut(number).convert("L"), dtype=np.float32) / 255)
        mask = torch.nn.functional.adaptive_avg_pool2d(shades[None], cells)[0]
        made += [mask, mask.flip(-1) if viewed.mirrored else mask] if flip else [mask]
    return torch.stack(made).to(DTYPE)
