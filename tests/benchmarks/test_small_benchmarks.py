"""Benchmarks of single stages and of loading, each run once at a tiny size, and their references."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from benchmarks import drawing, load_models, pictures, prepare, processes


def test_preparing_is_set_against_plain_pillow(run_benchmark):
    result, _ = run_benchmark("prepare", "--photos", "1", "2", "--size", "640", "480")
    assert [row[0] for row in result["rows"]] == [prepare.OURS, prepare.PILLOW]
    assert {(record["program"], record["photos"]) for record in result["records"]} == {
        (name, count) for name in (prepare.OURS, prepare.PILLOW) for count in (1, 2)
    }


def test_drawing_is_set_against_diffusers_on_the_same_pictures(run_benchmark):
    result, _ = run_benchmark("drawing", "--pictures", "8", "--steps", "2")
    assert [row[0] for row in result["rows"]] == [drawing.OURS, drawing.PIPELINE]
    assert result["facts"]["mean difference of the pictures, of 255"] < 0.05
    assert all(record["drawing_cpu"] > 0 for record in result["records"])


def test_loading_is_set_against_from_pretrained(run_benchmark):
    result, _ = run_benchmark("load_models", "tiny")
    assert [row[1] for row in result["rows"]] == list(load_models.WAYS)
    ratios = {row[1]: row[3] for row in result["rows"]}
    assert {way for way, ratio in ratios.items() if ratio != "-"} == set(load_models.AGAINST)


def test_loading_knows_the_sizes_of_bases_that_are_too_large_for_a_test():
    widths = {
        kind: load_models.find_architecture(kind).parts["unet"]["cross_attention_dim"] for kind in ("sd15", "sdxl")
    }
    assert widths == {"sd15": 768, "sdxl": 2048}


def test_two_processes_are_set_against_one(run_benchmark):
    result, _ = run_benchmark("processes", "--steps", "1", "2", "--batch", "2")
    assert [row[0] for row in result["rows"]] == [processes.ONE, processes.TWO]
    assert [record["steps"] for record in result["records"]] == [1, 2, 1, 2]


def test_differences_of_pictures_are_counted_in_shades():
    assert drawing.compare_pictures(bytes([0, 10, 255, 7]), bytes([2, 10, 251, 7])) == 1.5


def test_pillows_pictures_are_upright_cropped_in_the_middle_and_of_the_size(tmp_path):
    shades = np.zeros((60, 120, 3), np.uint8)
    shades[:, :30], shades[:, 90:], shades[:30, 30:90] = 255, 255, (200, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    (tmp_path / "raw").mkdir()
    Image.fromarray(shades).save(tmp_path / "raw" / "a.png", exif=exif)
    prepare.shrink_by_pillow(tmp_path / "raw", tmp_path / "out")
    made = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert made.shape == (prepare.SIDE, prepare.SIDE, 3)
    # The white sides are cropped away, and the red upper half is below.
    assert made[10, 10].tolist() == [0, 0, 0] and made[-10, -10].tolist() == pytest.approx([200, 0, 0], abs=8)


def test_sd_scripts_tool_gets_height_and_width_in_the_order_in_which_it_takes_them(tmp_path, monkeypatch):
    """A stand-in for the checkout: its tool calls with height first a function that takes the width first."""
    code = tmp_path / "code"
    (code / "tools").mkdir(parents=True)
    called = []
    library, utils = ModuleType("library"), ModuleType("library.utils")
    utils.resize_image = lambda *given: called.append(given)
    library.utils = utils
    monkeypatch.setitem(sys.modules, "library", library)
    monkeypatch.setitem(sys.modules, "library.utils", utils)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    tool = "from library.utils import resize_image\nimport sys\nresize_image('picture', 30, 40, 3, 4, sys.argv[1])\n"
    (code / "tools" / "resize_images_to_resolution.py").write_text(tool)
    prepare.shrink_by_sd_scripts(code, Path("from"), Path("to"))
    assert called == [("picture", 40, 30, 4, 3, "from")]


def test_pictures_are_made_from_their_numbers_and_stay(tmp_path):
    for folder in ("a", "b"):
        pictures.write_pictures("small", range(4), tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 8
    contents = {name: (tmp_path / "a" / name).read_bytes() for name in names}
    assert contents == {name: (tmp_path / "b" / name).read_bytes() for name in names}
    assert len(set(contents.values())) == 8
    (tmp_path / "a" / names[0]).write_bytes(b"mine")
    pictures.write_pictures("small", range(4), tmp_path / "a")
    assert (tmp_path / "a" / names[0]).read_bytes() == b"mine"


def test_photographs_are_as_hard_to_decode_as_a_cameras(tmp_path):
    """Whose files of 12 megapixels have 3 to 7 MB; every other one is upright."""
    pictures.write_pictures("photos", range(2), tmp_path, (800, 600))
    lying, upright = sorted(tmp_path.iterdir())
    assert (Image.open(lying).size, Image.open(upright).size) == ((800, 600), (600, 800))
    assert 3e6 < lying.stat().st_size * (4000 * 3000) / (800 * 600) < 7e6


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("drawing", ["--pictures", "12"], "whole batches of 8"),
        ("drawing", ["--rounds", "0"], "'0' is no whole number of at least 1"),
        ("prepare", ["--photos", "3", "3"], "the second must be more"),
        ("load_models", ["sd3"], "no such base: sd3; there are sd15"),
        ("training_step", ["--steps", "9", "3"], "the second must be more"),
        ("processes", ["--steps", "9", "3"], "the second must be more"),
        ("scaling", ["--sizes", "1"], "at least 2 pictures"),
        ("whole_run", ["--changes", "weather"], "invalid choice"),
    ],
)
def test_a_wrong_number_is_refused_before_anything_is_measured(name, words, told, monkeypatch, capsys):
    from importlib import import_module

    monkeypatch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
