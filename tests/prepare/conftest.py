"""Pictures and settings that the tests of `prepare` share."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.hashing import hash_file
from lorakiln.schema.prepare import PrepareSettings


@pytest.fixture
def settings():
    """Makes settings: the tiny model's buckets, in this process, unless told otherwise."""

    def make(**changes) -> PrepareSettings:
        values = {
            "dataset": "raw",
            "resolution": 64,
            "bucket": {"min": 32, "max": 128, "step": 16},
            "workers": 1,
        }
        return PrepareSettings(**values | changes)

    return make


@pytest.fixture
def noise():
    """Makes an RGB picture of random pixels."""

    def make(width: int, height: int, seed: int = 0) -> Image.Image:
        shades = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(shades)

    return make


@pytest.fixture
def photo():
    """Makes a picture as smooth as a photograph: noise whose amplitude falls with frequency."""

    def make(width: int, height: int) -> Image.Image:
        rng = np.random.default_rng(0)
        frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
        layers = []
        for _ in range(3):
            spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / np.maximum(frequency, 1)
            layer = np.fft.irfft2(spectrum, (height, width))
            layers.append(np.clip(128 + 50 * layer / layer.std(), 0, 255))
        return Image.fromarray(np.stack(layers, axis=-1).astype(np.uint8))

    return make


@pytest.fixture
def contents():
    """Gives every regular file of a folder with its hash and modification time, or with its hash alone."""

    def read(folder, times: bool = False) -> dict:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            path.relative_to(folder).as_posix(): (hash_file(path), path.stat().st_mtime_ns if times else 0)
            for path in files
        }

    return read
