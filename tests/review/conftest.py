"""A small dataset as people have them: pictures of several buckets, captions, a mask, an edit, and faults."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.review.collection import Rules
from lorakiln.schema.prepare import PrepareSettings

SIZES = {"a.png": (128, 128), "b.png": (160, 96), "deep/c.jpg": (96, 160), "d e [1].png": (128, 128), "e.png": (24, 24)}
CAPTIONS = {"a": "sks dog, red, outdoors", "b": "sks dog, blue", "deep/c": "sks dog, red\nanother line", "e": "small"}


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / "raw"
    for seed, (name, (width, height)) in enumerate(SIZES.items()):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        shades = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(shades).resize((width, height)).save(raw / name)
    for name, text in CAPTIONS.items():
        (raw / f"{name}.txt").write_text(text)
    (raw / "masks").mkdir()
    Image.new("L", SIZES["a.png"], 200).save(raw / "masks/a.png")
    (raw / "e.png.edit.yaml").write_text("excluded: true\n")
    (raw / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (raw / "f.png.edit.yaml").write_text("caption: of nothing\n")
    return raw


@pytest.fixture
def rules(tmp_path):
    settings = PrepareSettings(dataset="raw", resolution=64, bucket={"min": 32, "max": 128, "step": 16})
    return Rules(settings, prepared=tmp_path / "prepared")  # which is not there, unless a test makes it
