"""Flat drawings and shaded pictures told apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lorakiln.prepare import prepare
from lorakiln.prepare.shading import SHADED, describe_unsuited_pictures, measure_shading
from lorakiln.schema.prepare import PrepareSettings

RAW = Path(__file__).parents[2] / "data" / "raw"


def photograph(seed, side=256):
    """What a photograph's pixels are like: 1/f noise, as natural pictures have it (Field 1987), and a sensor's."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal((side, side))) / frequency**1.2
    spectrum[0, 0] = 0
    scene = np.real(np.fft.ifft2(spectrum))[..., None] * np.array([1.0, 0.8, 0.6])
    pixels = 128 + 40 * scene / scene.std() + 3 * rng.standard_normal(scene.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", ["demo_character", "demo_style"])
def test_drawings_are_flat(name):
    found = {file.name: measure_shading(Image.open(file).convert("RGB")) for file in (RAW / name).glob("*.[jp][pn]g")}
    assert len(found) > 15
    assert max(found.values()) < 0.85 * SHADED, found


def test_photographs_are_shaded_at_any_size_and_as_a_jpeg(tmp_path):
    picture = photograph(0, 512)
    assert measure_shading(picture) > 2 * SHADED
    assert measure_shading(picture.resize((64, 64))) > 2 * SHADED
    picture.save(tmp_path / "poor.jpg", quality=40)
    assert measure_shading(Image.open(tmp_path / "poor.jpg")) > 2 * SHADED


def test_the_share_is_counted():
    # Of 4 x 4 pixels, three columns of 100 and one of 110: 4 of 24 steps between neighbours are 10 levels.
    pixels = np.full((4, 4, 3), 100, dtype=np.uint8)
    pixels[:, 3, 1] = 110
    assert measure_shading(Image.fromarray(pixels)) == pytest.approx(4 / 24)
    pixels[:, 3, 1] = 160  # an outline
    assert measure_shading(Image.fromarray(pixels)) == 0
    assert measure_shading(Image.fromarray(pixels[:1, :1])) == 0


def test_only_a_model_that_knows_drawings_alone_is_doubted_and_only_if_most_are_shaded():
    shaded, flat = 0.4, 0.1
    assert describe_unsuited_pictures([shaded, shaded, flat], "any") is None
    assert describe_unsuited_pictures([shaded, flat], "drawings") is None
    told = describe_unsuited_pictures([shaded, shaded, flat], "drawings")
    assert told.startswith("2 of 3 pictures are shaded like photographs") and "model=sd15" in told


@pytest.mark.parametrize(("domain", "warned"), [("drawings", 1), ("any", 0)])
def test_prepare_says_it_once_and_keeps_it(tmp_path, capfd, domain, warned):
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed in range(3):
        photograph(seed).save(raw / f"{seed}.jpg")
    drawing = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(drawing).ellipse((30, 30, 170, 170), fill="red", outline="black", width=6)
    drawing.save(raw / "drawing.png")
    bucket = {"min": 32, "max": 128, "step": 16}
    settings = PrepareSettings(dataset="raw", resolution=64, bucket=bucket, workers=1, domain=domain)
    prepare(raw, tmp_path / "out", settings)
    assert capfd.readouterr().err.count("3 of 4 pictures are shaded like photographs") == warned
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert bool(facts["out_of_domain"]) == bool(warned)
    # What is reused is measured no second time, and told all the same.
    prepare(raw, tmp_path / "out", settings)
    told = capfd.readouterr()
    assert "(4 reused)" in told.out and told.err.count("shaded like photographs") == warned
