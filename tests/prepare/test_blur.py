"""How blurred a picture is, and what is told about it."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.prepare import prepare
from lorakiln.prepare.blur import LENGTH, measure_blur


def measure_as_published(shades):
    """The paper's formulas, one direction, in plain loops."""
    height, width = shades.shape
    half = LENGTH // 2
    before = after = 0.0
    for y in range(height):
        mean = [sum(shades[y, x - half : x + half + 1]) / LENGTH for x in range(half, width - half)]
        for x in range(half + 1, width - half):
            step = abs(shades[y, x] - shades[y, x - 1])
            smooth = abs(mean[x - half] - mean[x - half - 1])
            before += step
            after += max(0.0, step - smooth)
    return (before - after) / before


def test_it_is_the_published_measure(noise):
    image = noise(25, 14).filter(ImageFilter.GaussianBlur(1))
    shades = np.asarray(image.convert("L"), dtype=np.float64) / 255
    expected = max(measure_as_published(shades), measure_as_published(shades.T))
    assert measure_blur(image) == pytest.approx(expected, abs=1e-6)


def test_what_a_blur_levels_is_sharp_and_what_it_leaves_is_blurred():
    # A step of one pixel becomes a ramp of nine: of 1 in one place 1/9 stays.
    step = np.zeros((40, 40), dtype=np.uint8)
    step[:, 20:] = 255
    assert measure_blur(Image.fromarray(step)) == pytest.approx(1 / LENGTH, abs=1e-6)
    # An even ramp is the same when it is blurred.
    ramp = np.repeat(np.arange(0, 160, 4, dtype=np.uint8)[None], 40, axis=0)
    assert measure_blur(Image.fromarray(ramp)) == pytest.approx(1.0, abs=1e-6)
    assert measure_blur(Image.new("RGB", (64, 64), "red")) == measure_blur(Image.new("L", (8, 8))) == 0.0


def test_it_rises_with_the_blur_in_either_direction(photo):
    image = photo(96, 96)
    found = [measure_blur(image.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4)]
    assert found == sorted(found)
    # A camera that moved sideways.
    shades = np.asarray(image.convert("L"), dtype=np.float64)
    moved = np.mean([np.roll(shades, shift, axis=1) for shift in range(9)], axis=0)
    assert measure_blur(Image.fromarray(np.uint8(moved))) > measure_blur(image) + 0.2


def test_prepare_tells_which_pictures_are_blurred(tmp_path, settings, capsys):
    raw, step = tmp_path / "raw", np.zeros((64, 64, 3), dtype=np.uint8)
    raw.mkdir()
    step[:, ::16] = 255
    Image.fromarray(step).save(raw / "sharp.png")
    Image.fromarray(step).filter(ImageFilter.GaussianBlur(4)).save(raw / "soft.png")

    def run(**changes):
        prepare(raw, tmp_path / "out", settings(**changes))
        rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out/metadata.jsonl")}
        return capsys.readouterr().err, rows

    told, rows = run()
    assert rows["sharp.png"]["blur"] < 0.4 < 0.6 < rows["soft.png"]["blur"]
    assert f"  soft.png ({rows['soft.png']['blur']:.2f})" in told and "  sharp.png" not in told
    assert "blurred" not in run(findings={"blurred": "off"})[0] and "blurred" not in run(blurred_above=0.9)[0]
