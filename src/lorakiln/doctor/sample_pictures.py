"""Pictures to train on: simple shapes, each with its caption beside it."""

from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = ("red", "blue", "green", "yellow", "purple")
GROUNDS = ("white", "black")
SHAPES = ("circle", "square")


def write_pictures(folder: Path, side: int) -> list[str]:
    """Write ten pictures, six of side x side pixels and four half as wide again, so that there are two buckets.

    Returns:
        their captions.
    """
    folder.mkdir(parents=True)
    captions = []
    for number in range(10):
        ground, shape = GROUNDS[number % 2], SHAPES[number // 5]
        colour = COLOURS[number % 5]
        width = side if number < 6 else side * 3 // 2
        picture = Image.new("RGB", (width, side), ground)
        place = (side // 4, side // 4, side * 3 // 4, side * 3 // 4)
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if shape == "circle" else draw.rectangle)(place, fill=colour)
        picture.save(folder / f"{number:02d}.png")
        captions.append(f"a {colour} {shape}, {ground} background")
        (folder / f"{number:02d}.txt").write_text(captions[-1] + "\n", encoding="utf-8")
    return captions
