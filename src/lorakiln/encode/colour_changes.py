"""Other colours of a picture: what lamps, cameras and developing change, and what is in it stays.

All of it is done on the stored sRGB values, which is what kohya's color_aug, torchvision's ColorJitter and Pillow's
ImageEnhance do too, and not on linear light.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Self

import torch
from torch import Tensor

from lorakiln.schema.augment import AugmentSettings

GREY = (0.299, 0.587, 0.114)  # of red, green and blue: luma of ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True)
class ColourChange:
    """Done in this order; 1, and 0 of the hue, change nothing.

    Attributes:
        gamma: the power of every value in [0, 1].
        brightness: the factor on every value.
        contrast: the factor on the distance from the picture's mean grey.
        saturation: the factor on the distance from the pixel's own grey.
        hue: degrees by which the hue of HSV turns; 120 makes red green.
    """

    gamma: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    @classmethod
    def draw(cls, settings: AugmentSettings, drawn: Sequence[float]) -> Self:
        """Evenly from the settings' ranges.

        Args:
            drawn: five numbers in [0, 1).
        """
        ranges = (settings.gamma, settings.brightness, settings.contrast, settings.saturation, settings.hue)
        shifts = [limit * (2 * one - 1) for limit, one in zip(ranges, drawn, strict=True)]
        gamma, brightness, contrast, saturation = (1 + shift for shift in shifts[:-1])
        return cls(gamma, brightness, contrast, saturation, shifts[-1])


def change_colours(pixels: Tensor, changes: Sequence[ColourChange]) -> Tensor:
    """Pictures with other colours, cut off at black and white in the end.

    Args:
        pixels: (B, 3, H, W) in [-1, 1].
        changes: B of them.

    Returns:
        the same of the same shape.
    """
    table = torch.tensor([astuple(one) for one in changes], dtype=pixels.dtype).T[..., None, None, None]
    gamma, brightness, contrast, saturation, hue = table
    values = ((pixels + 1) / 2) ** gamma * brightness
    values = _stretch(values, _grey(values).mean(dim=(2, 3), keepdim=True), contrast)
    values = _turn_hue(_stretch(values, _grey(values), saturation), hue)
    return values.clamp(0, 1) * 2 - 1


def _grey(values: Tensor) -> Tensor:
    weights = torch.tensor(GREY, dtype=values.dtype).view(3, 1, 1)
    return (values * weights).sum(dim=1, keepdim=True)


def _stretch(values: Tensor, middle: Tensor, factor: Tensor) -> Tensor:
    return middle + factor * (values - middle)


def _turn_hue(values: Tensor, degrees: Tensor) -> Tensor:
    """The hexagon of HSV turned: the largest and the smallest of each pixel's values stay."""
    most, least = values.amax(dim=1, keepdim=True), values.amin(dim=1, keepdim=True)
    range = most - least
    red, green, blue = values.split(1, dim=1)
    unit = range.clamp(min=torch.finfo(values.dtype).tiny)
    # In sixths of the circle, from red.
    hue = torch.where(
        most == red,
        (green - blue) / unit,
        torch.where(most == green, (blue - red) / unit + 2, (red - green) / unit + 4),
    )
    corners = torch.tensor([5.0, 3.0, 1.0], dtype=values.dtype).view(3, 1, 1)
    way = (hue + degrees / 60 + corners) % 6
    turned = most - range * torch.minimum(way, 4 - way).clamp(0, 1)
    # Exact where nothing turns: it was a way there and back.
    return torch.where(degrees == 0, values, turned)
