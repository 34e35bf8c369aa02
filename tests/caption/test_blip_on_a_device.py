"""BLIP on a device that is no CPU, in name only: a tensor left behind raises there."""

from pathlib import Path

import pytest
from PIL import Image

from lorakiln.captioners.blip.model import Blip
from lorakiln.families.tensor_memory import META
from lorakiln.schema.captioners.blip import BlipSettings
from tests.strict_device import StrictDevice


@pytest.fixture(autouse=True)
def device():
    with StrictDevice() as strict, strict.reading_zeros():
        yield strict


@pytest.mark.parametrize("prompt", ["", "a picture of"])
def test_captions_are_written_there(tmp_path, prompt):
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file in files:
        Image.new("RGB", (40, 30)).save(file)
    # One beam: with several the text ends where the numbers say so, of which there are none.
    settings = BlipSettings(prompt=prompt, num_beams=1, max_new_tokens=4, batch_size=2)
    written = list(Blip.load(Path("models/tiny/blip"), META).write(files, settings))
    assert len(written) == 3 and all(isinstance(text, str) for text in written)
