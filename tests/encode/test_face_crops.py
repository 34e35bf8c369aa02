"""Crops around a face: their boxes, their pixels, and where the network is told that they were taken."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.encode.variants import OpenPicture, View, _draw_face_box, draw_views, locate_view
from lorakiln.rows import CaptionedRow, Uncropped
from lorakiln.schema.augment import AugmentSettings

FACE = (175, 120, 225, 180)  # 50 x 60 around (200, 150)
MIDDLE = (0.5, 0.5)


def kept(face=FACE, closest=2.0, widest=4.0, size=(400, 300)):
    return Uncropped(
        file_name="a", width=size[0], height=size[1], png_sha256="", face=face, closest=closest, widest=widest
    )


@pytest.mark.parametrize(
    ("bucket", "drawn", "box"),
    [
        ((100, 100), (*MIDDLE, 0.0), (140, 90, 260, 210)),  # twice the face's 60 pixels
        ((100, 100), (*MIDDLE, 0.5), (110, 60, 290, 240)),  # three times
        ((100, 50), (*MIDDLE, 0.0), (80, 90, 320, 210)),  # of the shorter side
        ((200, 200), (*MIDDLE, 0.0), (100, 50, 300, 250)),  # no smaller than the bucket
        ((50, 50), (*MIDDLE, 1.0), (80, 30, 320, 270)),
        ((200, 100), (*MIDDLE, 1.0), (0, 50, 400, 250)),  # no wider than the picture
        ((100, 100), (1.0, 0.0, 0.0), (143, 87, 263, 207)),  # moved by 3 pixels, a twentieth
    ],
)
def test_boxes(bucket, drawn, box):
    assert _draw_face_box(kept(), FACE, bucket, *drawn) == box


def test_a_face_at_the_edge_is_not_in_the_middle():
    corner = (0, 250, 40, 300)
    assert _draw_face_box(kept(corner), corner, (64, 64), *MIDDLE, 0.0) == (0, 200, 100, 300)


def test_pixels_and_place():
    row = CaptionedRow(
        **{"file_name": "a.png", "width": 60, "height": 60, "bucket": "60x60", "source": "a", "text": "a"},
        **{"source_width": 800, "source_height": 600, "crop": (10, 0, 70, 60), "resized": (80, 60)},
        **{"sha256": "5" * 64, "uncropped": kept()},
    )
    settings = AugmentSettings(variants=12, crop="face")
    boxes = [view.box for view in draw_views(row, settings)[1:]]
    sides = {right - left for left, _, right, _ in boxes}
    assert len(sides) > 6 and min(sides) >= 120 and max(sides) <= 240
    assert all(left <= 180 and top <= 125 and right >= 220 and bottom >= 175 for left, top, right, bottom in boxes)
    view = View((140, 90, 260, 210))
    # Half as large as what was kept: counted in a picture of 200 x 150.
    assert locate_view(row, view) == (600, 800, 45, 70, 60, 60)
    assert locate_view(row, view, mirrored=True) == (600, 800, 45, 200 - 130, 60, 60)
    shades = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    whole = Image.fromarray(shades)
    opened = OpenPicture(Image.new("RGB", (60, 60)), whole, (View(), view))
    expected = whole.crop(view.box).resize((60, 60), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(opened.crop(1)), np.asarray(expected))
    # Without a face, as crops are drawn anywhere.
    faceless = row.changed(uncropped=kept(face=None))
    anywhere = draw_views(faceless, AugmentSettings(variants=12, crop="random"))
    assert draw_views(faceless, settings) == anywhere and anywhere != draw_views(row, settings)
