"""What may be wrong with pictures, by name: told, refused, or not looked for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.prepare.border import measure_border
from lorakiln.schema.prepare import FindingSettings

FOUND = {  # what each finding is told by in `raw`; small_bucket is the training's
    "too_small": "small.png (7x64)",
    "enlarged": "little.png (4.0 times)",
    "blurred": "soft.png (",
    "border": "film.png (25% of it)",
    "cropped": "long.png (",
    "black_mask": "plain.png (plain-masklabel.png)",
    "same_file": "film.png = film2.png",
    "look_alike": "soft.png ~ soft2.jpg",
    "in_both_sets": "photo.png ~ reg/photo.png",
    "misnamed": "a.jpg_large -> a.jpg",
}


@pytest.fixture
def raw(tmp_path, noise):
    """A dataset of which each finding has something to say."""
    raw = tmp_path / "raw"
    (raw / "reg").mkdir(parents=True)
    (raw / "dataset.yaml").write_text("datasets:\n- subsets:\n  - {folder: .}\n  - {folder: reg, is_reg: true}\n")
    noise(64, 64, 1).save(raw / "photo.png")
    noise(64, 64, 1).save(raw / "reg/photo.png")
    noise(16, 16, 2).save(raw / "little.png")
    noise(7, 64, 3).resize((7, 64)).save(raw / "small.png")
    noise(300, 64, 4).save(raw / "long.png")
    noise(64, 64, 5).save(raw / "plain.png")
    Image.new("L", (64, 64)).save(raw / "plain-masklabel.png")
    soft = noise(4, 4, 6).resize((64, 64), Image.Resampling.BICUBIC)
    soft.save(raw / "soft.png")
    soft.save(raw / "soft2.jpg", quality=95)
    film = noise(64, 64, 7)
    for top in (0, 56):
        film.paste("black", (0, top, 64, top + 8))
    film.save(raw / "film.png")
    film.save(raw / "film2.png")
    noise(64, 64, 8).save(raw / "a.jpg_large", "JPEG")
    return raw


def test_each_is_error_warn_or_off(raw, tmp_path, settings, capfd):
    off = dict.fromkeys(FindingSettings.model_fields, "off")
    made = {"bucket": {"min": 32, "max": 64, "step": 16}, "max_aspect": 20.0}

    def run(levels):
        prepare(raw, tmp_path / "out", settings(findings=levels, **made))
        return capfd.readouterr().err

    told = run(dict.fromkeys(off, "warn"))
    for name, line in FOUND.items():
        assert f"\n  {line}" in told, name
    quiet = run(off)
    assert not any(line in quiet for line in FOUND.values())
    rows = read_jsonl(tmp_path / "out/metadata.jsonl")
    assert "small.png" in {row["source"] for row in rows}
    # All at once, each named, and the folder is as it was.
    with pytest.raises(UserError) as refused:
        run({**dict.fromkeys(off, "error"), "small_bucket": "error"})
    for name, line in FOUND.items():
        assert line.split(" (")[0] in str(refused.value), name
    assert "prepare.findings.in_both_sets=warn" in str(refused.value) and "too small (1)" in str(refused.value)
    assert read_jsonl(tmp_path / "out/metadata.jsonl") == rows
    for name in FOUND.keys() - {"too_small"}:
        with pytest.raises(UserError, match=f"prepare.findings.{name}=warn"):
            run({**off, name: "error"})


def test_a_level_makes_no_picture_anew(tmp_path, settings, noise, capfd):
    (tmp_path / "raw").mkdir()
    noise(16, 16).save(tmp_path / "raw/a.png")
    prepare(tmp_path / "raw", tmp_path / "out", settings())
    assert ", 1 enlarged more than 2 times" in capfd.readouterr().out
    other = settings(enlarged_above=3.0, blurred_above=0.9, border_above=0.5, findings={"enlarged": "off"})
    prepare(tmp_path / "raw", tmp_path / "out", other)
    told = capfd.readouterr().out
    assert "1 picture (1 reused)" in told and "enlarged" not in told  # nobody looks


def test_many_are_listed_in_a_file(tmp_path, settings, noise):
    (tmp_path / "raw").mkdir()
    for number in range(21):
        noise(8, 8, number).save(tmp_path / f"raw/{number:02}.png")
    with pytest.raises(UserError, match="and 1 more\n.*the full list is in"):
        prepare(tmp_path / "raw", tmp_path / "out", settings(findings={"enlarged": "error"}))
    found = read_jsonl(tmp_path / "out.quarantine.jsonl")
    assert [row["source"] for row in found] == [f"{number:02}.png (8.0 times)" for number in range(21)]


def frame(width, height, left, top, colour="black"):
    """Noise within bars."""
    image = Image.new("RGB", (width, height), colour)
    inner = np.random.default_rng(0).integers(0, 256, (height - 2 * top, width - 2 * left, 3), dtype=np.uint8)
    image.paste(Image.fromarray(inner), (left, top))
    return image


@pytest.mark.parametrize(("left", "top"), [(0, 10), (12, 0), (8, 8), (1, 0), (0, 0)])
@pytest.mark.parametrize("colour", ["black", "white", "#204080"])
def test_bars_are_measured(left, top, colour):
    share = 1 - (100 - 2 * left) * (80 - 2 * top) / (100 * 80)
    assert measure_border(frame(100, 80, left, top, colour)) == pytest.approx(share)


def test_a_plain_ground_is_no_bar():
    ground = Image.new("RGB", (64, 64), "white")
    assert measure_border(ground) == 0
    ImageDraw.Draw(ground).ellipse((16, 16, 48, 48), fill="red")
    assert measure_border(ground) == 0
    # A sky and a ground: two colours, which end at straight lines.
    sky = frame(64, 64, 0, 16, "blue")
    sky.paste("green", (0, 48, 64, 64))
    assert measure_border(sky) == 0
    # One that is soft at its edge, as after a resize, is one.
    assert measure_border(frame(200, 160, 0, 20).resize((100, 80))) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("colour", ["white", "black", "#505050"])
def test_one_bar_alone_is_measured_on_each_side(colour, noise):
    image = noise(100, 80)
    image.paste(colour, (0, 0, 100, 16))
    for _ in range(4):
        assert measure_border(image) == pytest.approx(0.2)
        image = image.rotate(90, expand=True)
    # Words and signs on it are part of it, as on a screenshot's; and another may be on the other side.
    ImageDraw.Draw(image).rectangle((4, 5, 14, 10), fill="red")
    image.paste("white" if colour == "black" else "black", (0, 72, 100, 80))
    assert measure_border(image) == pytest.approx(0.3)


def test_a_wall_and_a_floor_are_no_bars(noise):
    wall = Image.new("RGB", (100, 80), "white")
    wall.paste("#707070", (0, 64, 100, 80))
    ImageDraw.Draw(wall).ellipse((35, 15, 65, 45), fill="red")
    assert measure_border(wall) == 0
    sky = noise(100, 80)
    sky.paste("#8080ff", (0, 0, 100, 20))
    assert measure_border(sky) == 0


def test_blurred_and_shaded_bars_are_measured_where_they_are_a_pair():
    grain = np.random.default_rng(0).integers(-30, 31, (120, 160, 3))
    around = np.linspace(40, 210, 120)[:, None, None]
    pixels = np.clip(around[::-1] + grain, 0, 255)
    shaded = np.broadcast_to(around, pixels.shape).copy()
    shaded[24:96] = pixels[24:96]
    image = Image.fromarray(shaded.astype(np.uint8))
    assert measure_border(image) == pytest.approx(0.4)
    assert measure_border(image.rotate(90, expand=True)) == pytest.approx(0.4)
    # One side alone, or one much wider than the other, is a sky or a ground.
    shaded[60:] = pixels[60:]
    assert measure_border(Image.fromarray(shaded.astype(np.uint8))) == 0
    shaded[100:] = around[100:]
    assert measure_border(Image.fromarray(shaded.astype(np.uint8))) == 0
    assert measure_border(Image.fromarray(pixels.astype(np.uint8))) == 0
    # Nothing is sharper between them.
    smooth = np.broadcast_to(around, pixels.shape).copy()
    smooth[24:96] = around[24:96][::-1]
    assert measure_border(Image.fromarray(smooth.astype(np.uint8))) == 0


def test_what_stands_on_its_ground_makes_no_bar_of_it():
    """Both were called bars in the demo's own drawings: beside a hat with a brim, and below a house."""
    hat = Image.new("RGB", (64, 64), (247, 209, 76))
    hat.paste((60, 60, 60), (18, 7, 51, 46))
    hat.paste((60, 60, 60), (9, 40, 60, 46))
    assert measure_border(hat) == 0
    shade = np.linspace(240, 214, 64).round().astype(np.uint8)
    house = Image.fromarray(np.repeat(shade[:, None], 64, axis=1)).convert("RGB")
    house.paste((10, 10, 10), (8, 20, 48, 55))
    house.paste((220, 90, 70), (10, 22, 46, 40))
    assert measure_border(house) == 0
    # The same as a strip below a picture is one.
    noise = np.random.default_rng(0).integers(0, 200, (64, 64, 3), dtype=np.uint8)
    noise[56:] = 240
    assert measure_border(Image.fromarray(noise)) == pytest.approx(8 / 64)


def test_no_picture_of_the_demos_has_bars():
    raw = Path(__file__).parents[2] / "data" / "raw"
    files = [path for path in sorted(raw.rglob("*")) if path.suffix in (".png", ".jpg", ".webp")]
    assert len(files) > 40
    for path in files:
        picture = Image.open(path).convert("RGB")
        assert [measure_border(picture.resize((side, side))) for side in (64, 128)] == [0, 0], path
