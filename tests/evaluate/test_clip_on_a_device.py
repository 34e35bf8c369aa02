"""CLIP on a device that is no CPU, in name only: a tensor left behind raises there."""

import pytest
from PIL import Image

from lorakiln.evaluate.clip import Clip
from lorakiln.families.tensor_memory import META
from lorakiln.metrics.coherence import blur
from lorakiln.schema.model import Source
from tests.strict_device import StrictDevice

LONG = "a red cat " * 100


@pytest.fixture(autouse=True)
def device():
    with StrictDevice() as strict, strict.reading_zeros():
        yield strict


@pytest.fixture
def clip():
    return Clip.load(Source(path="models/tiny/clip"), META)


def test_texts_are_embedded_there(clip):
    assert clip.texts(["a cat", "", LONG], batch_size=2).shape == (3, clip.model.config.projection_dim)


def test_pictures_are_embedded_there(clip, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file, size in zip(files, ((40, 30), (16, 64), (32, 32)), strict=True):
        Image.new("RGB", size).save(file)
    for alter in (None, blur):
        assert clip.pictures(files, batch_size=2, alter=alter).shape == (3, clip.model.config.projection_dim)


def test_a_model_goes_there_whole(clip):
    assert {one.device for one in (*clip.model.parameters(), *clip.model.buffers())} == {META}
    clip.to(META)
    assert clip.device == META
