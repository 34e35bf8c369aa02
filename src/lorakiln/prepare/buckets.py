"""Aspect-ratio buckets by kohya's rule (sd-scripts: make_bucket_resolutions and BucketManager.select_bucket).

A picture is scaled until it covers its bucket and cropped around its centre. Sizes are (width, height) in pixels.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import check
from lorakiln.schema.prepare import BucketSettings, PrepareSettings, check_resolution
from lorakiln.schema.subset_rules import PictureRules

Size = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """What decides a picture's bucket.

    Attributes:
        resolution: a rectangle of the area that a bucket has at most.
    """

    resolution: Size
    bucket: BucketSettings

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able."""
        return {"resolution": list(self.resolution), "bucket": self.bucket.model_dump(mode="json")}

    @classmethod
    def of(cls, settings: PrepareSettings, own: PictureRules | None = None, where: str = "") -> "Geometry":
        """Of the pictures that the settings are for, or of some with rules of their own.

        Args:
            where: these stand, for messages.

        Raises:
            UserError: they contradict each other or the settings.
        """
        given = settings.resolution if own is None or own.resolution is None else own.resolution
        width, height = (given, given) if isinstance(given, int) else given
        bucket = settings.bucket
        try:
            if own and own.bucket:
                bucket = check(BucketSettings, {**bucket.model_dump(), **own.bucket}, "bucket")
            for side in (width, height):
                check_resolution(side, bucket)
        except ConfigError as error:
            raise UserError("; ".join(error.problems), where=where, fix="mend it there") from error
        except ValueError as error:
            fix = "change it there, or what it is held against: there too, or in prepare.bucket"
            raise UserError(str(error), where=where, fix=fix) from error
        return cls((width, height), bucket)


@dataclass(frozen=True)
class Placement:
    """Where a picture goes.

    Attributes:
        bucket: the size it ends with.
        resized: its size before the crop; covers the bucket.
        crop: (left, top, right, bottom) in the resized picture.
        scale: resized / original, of the larger of the two sides' factors; above 1 is enlarged.
    """

    bucket: Size
    resized: Size
    crop: tuple[int, int, int, int]
    scale: float


def choose_bucket(size: Size, resolution: Size, settings: BucketSettings) -> Placement:
    """The bucket of a picture of `size`.

    Args:
        resolution: whose area a bucket has at most.

    Raises:
        ValueError: with no_upscale, a side is shorter than one bucket step.
    """
    if not settings.enable:
        return _centred(size, resolution, _cover(size, resolution))
    if settings.no_upscale:
        resized = _shrunk(size, resolution, settings.step)
        bucket = (_floor(resized[0], settings.step), _floor(resized[1], settings.step))
        if 0 in bucket:
            raise ValueError(f"{size[0]}x{size[1]} is less than one bucket step of {settings.step} pixels")
        return _centred(size, bucket, resized)
    bucket = _nearest(size, list_bucket_sizes(resolution, settings.min, settings.max, settings.step))
    return _centred(size, bucket, _cover(size, bucket))


@lru_cache
def list_bucket_sizes(resolution: Size, shortest: int, longest: int, step: int) -> tuple[Size, ...]:
    """All buckets, sorted: for every width the greatest height, in steps, that keeps to the area; and transposed.

    Args:
        shortest: of a side; rounded down to a multiple of step.
        longest: of a side; rounded up.
    """
    area = resolution[0] * resolution[1]
    shortest, longest = _floor(shortest, step), -_floor(-longest, step)
    square = _floor(math.isqrt(area), step)
    sizes = {(square, square)}
    for width in range(max(shortest, step), longest + 1, step):
        height = min(longest, _floor(area // width, step))
        if height >= shortest:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def _nearest(size: Size, buckets: tuple[Size, ...]) -> Size:
    """A bucket of the very size, or the first of the nearest aspect ratio; the distance is linear, not logarithmic."""
    if size in buckets:
        return size
    aspect = size[0] / size[1]
    return min(buckets, key=lambda bucket: abs(bucket[0] / bucket[1] - aspect))


def _cover(size: Size, bucket: Size) -> Size:
    """The size, of the same aspect ratio, that just covers the bucket."""
    width, height = size
    if width / height > bucket[0] / bucket[1]:
        scale = bucket[1] / height
    else:
        scale = bucket[0] / width
    return _round(width * scale), _round(height * scale)


def _shrunk(size: Size, resolution: Size, step: int) -> Size:
    """The size itself if its area is small enough; else the one of that area with one side a multiple of step.

    Of the two ways, to round the width or the height, the one whose bucket distorts the aspect ratio less.
    """
    width, height = size
    area = resolution[0] * resolution[1]
    if width * height <= area:
        return size
    aspect = width / height
    wide = _floor(_round(math.sqrt(area * aspect)), step)
    tall = _floor(_round(math.sqrt(area / aspect)), step)
    by_width = _ratio_error(wide, _floor(_round(wide / aspect), step), aspect)
    by_height = _ratio_error(_floor(_round(tall * aspect), step), tall, aspect)
    if by_width < by_height:
        return wide, _round(wide / aspect)
    return _round(tall * aspect), tall


def _ratio_error(width: int, height: int, aspect: float) -> float:
    return abs(width / height - aspect) if height else math.inf


def _centred(size: Size, bucket: Size, resized: Size) -> Placement:
    left, top = (resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2
    scale = max(resized[0] / size[0], resized[1] / size[1])
    return Placement(bucket, resized, (left, top, left + bucket[0], top + bucket[1]), scale)


def _round(value: float) -> int:
    return int(value + 0.5)


def _floor(value: int, step: int) -> int:
    return value // step * step
