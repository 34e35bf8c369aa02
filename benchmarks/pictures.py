"""Pictures for benchmarks to read, made from their numbers alone.

    python -m benchmarks.pictures photos COUNT FOLDER    # JPEGs of 12 megapixels, about 4 MB each
    python -m benchmarks.pictures small COUNT FOLDER     # PNGs of about 96 x 96 with a caption beside each

What is there already stays.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

PHOTO = (4000, 3000)
SMALL = ((96, 96), (120, 80), (80, 120))
THINGS = ("lamp", "chair", "boat", "kettle", "shoe", "violin", "clock", "tower")


def make_photo(number: int, size: tuple[int, int] = PHOTO) -> Image.Image:
    """Soft shapes below the noise of a sensor, every other one upright."""
    draws = np.random.default_rng(number)
    size = size if number % 2 == 0 else size[::-1]
    # Shades at three scales, as scenes have: large ones strong, small ones weak.
    layers = [draws.integers(0, 256, (3 * 4**level, 4 * 4**level, 3), np.uint8) for level in range(3)]
    scene = np.zeros((size[1], size[0], 3), np.float32)
    for layer, strength in zip(layers, (0.6, 0.3, 0.1), strict=True):
        scene += strength * np.asarray(Image.fromarray(layer).resize(size, Image.Resampling.BICUBIC), np.float32)
    # One tile of noise in many places: drawing 36 million numbers takes longer than all else.
    tile = draws.normal(0, 9, (512, 512, 3)).astype(np.float32)
    grain = np.tile(tile, (size[1] // 512 + 1, size[0] // 512 + 1, 1))[: size[1], : size[0]]
    return Image.fromarray((scene + grain).clip(0, 255).astype(np.uint8))


def make_small(number: int) -> tuple[Image.Image, str]:
    """A few blocks of colour, other ones in each picture, and a caption."""
    draws = np.random.default_rng(number)
    blocks = Image.fromarray(draws.integers(0, 256, (5, 5, 3), np.uint8))
    picture = blocks.resize(SMALL[number % len(SMALL)], Image.Resampling.NEAREST)
    return picture, f"a {THINGS[number % len(THINGS)]}, number {number}"


def write_pictures(kind: str, numbers: Iterable[int], folder: Path, size: tuple[int, int] = PHOTO) -> None:
    """Write those of some numbers that are not there yet.

    Args:
        kind: "photos" or "small".
        size: of photos, pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        file = folder / f"{number:06}{'.jpg' if kind == 'photos' else '.png'}"
        if file.exists():
            continue
        if kind == "photos":
            make_photo(number, size).save(file, quality=92)
        else:
            picture, caption = make_small(number)
            picture.save(file)
            file.with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("photos", "small"))
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0, help="number [0]")
    parser.add_argument("--size", type=int, nargs=2, default=PHOTO, help="of photos, pixels [4000 3000]")
    given = parser.parse_args()
    write_pictures(given.kind, range(given.first, given.first + given.count), given.folder, tuple(given.size))


if __name__ == "__main__":
    main()
