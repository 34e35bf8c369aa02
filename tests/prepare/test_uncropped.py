"""The picture before its crop: its size, its pixels, and that the crop does not know of it."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.prepare import picture as picture_module
from lorakiln.prepare import prepare
from lorakiln.prepare.buckets import Placement
from lorakiln.prepare.uncropped import choose_uncropped_size
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source


def rows_of(folder):
    return {row["file_name"]: row for row in read_jsonl(folder / "metadata.jsonl")}


@pytest.fixture
def raw(tmp_path, noise, photo):
    folder = tmp_path / "raw"
    (folder / "deep").mkdir(parents=True)
    noise(100, 64).save(folder / "small.png")
    noise(600, 360, 1).save(folder / "deep" / "large.png")
    photo(1200, 900).save(folder / "photo.jpg", quality=95)
    return folder


@pytest.mark.parametrize(
    ("margin", "sizes"),
    [
        # Of 100x64, which has no more to give, 600x360 and 1200x900.
        (0.0, [(80, 51), (80, 48), (85, 64)]),
        (0.5, [(100, 64), (120, 72), (128, 96)]),
    ],
)
def test_sizes_and_pixels(tmp_path, raw, settings, margin, sizes):
    prepare(raw, tmp_path / "plain", settings())
    prepare(raw, tmp_path / "out", settings(margin=margin))
    plain, rows = rows_of(tmp_path / "plain"), rows_of(tmp_path / "out")
    found = {}
    for name, row in rows.items():
        with Image.open(tmp_path / "out" / row["uncropped"]["file_name"]) as image:
            found[name] = image.copy()
        assert found[name].size == (row["uncropped"]["width"], row["uncropped"]["height"])
        # What it is trained on without a margin.
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
        assert "uncropped" not in plain[name]
        if margin == 0:
            crop = found[name].crop(row["crop"])
            assert np.array_equal(np.asarray(crop), np.asarray(Image.open(tmp_path / "out" / name)))
    assert [found[name].size for name in ("small.png", "deep/large.png", "photo.png")] == sizes
    with Image.open(raw / "deep" / "large.png") as source:
        whole = source.resize(sizes[1], Image.Resampling.LANCZOS, reducing_gap=3.0)
    assert np.array_equal(np.asarray(whole), np.asarray(found["deep/large.png"]))


@pytest.mark.parametrize(
    ("source", "scale", "margin", "expected"),
    [
        ((1000, 800), 0.1, 0.25, (125, 100)),
        ((110, 88), 100 / 110, 0.25, (110, 88)),  # no more than there is
        ((50, 40), 2.0, 0.25, (100, 80)),  # enlarged for its bucket, and no further
    ],
)
def test_nothing_is_enlarged_for_the_margin(source, scale, margin, expected):
    placement = Placement((96, 64), (100, 80), (2, 8, 98, 72), scale)
    assert choose_uncropped_size(source, placement, margin) == expected


def test_a_jpeg_is_decoded_large_enough_for_its_margin(tmp_path, raw, settings):
    """For its crop it is decoded at 1/4 of its size, 300 pixels wide, which is too few to make 298 of."""
    prepare(raw, tmp_path / "out", settings(margin=2.5))
    row = rows_of(tmp_path / "out")["photo.png"]
    with Image.open(raw / "photo.jpg") as source:
        expected = np.asarray(source.resize((298, 224), Image.Resampling.LANCZOS), dtype=float)
    found = np.asarray(Image.open(tmp_path / "out" / row["uncropped"]["file_name"]), dtype=float)
    # Decoded at 1/2 it is off by 1.6 levels, at 1/4 by 4.4.
    assert found.shape == expected.shape and np.abs(found - expected).mean() < 2.5


def counted(names):
    """Decodes, and notes which files."""
    decode = picture_module.decode
    return lambda path, *more, **named: names.append(path.name) or decode(path, *more, **named)


def test_what_is_there_is_copied_under_its_new_name(tmp_path, raw, settings, contents, monkeypatch):
    decoded = []
    monkeypatch.setattr(picture_module, "decode", counted(decoded))
    prepare(raw, tmp_path / "out", settings(margin=0.5))
    decoded.clear()
    (raw / "small.png").rename(raw / "moved.png")
    (tmp_path / "out" / ".uncropped" / "photo.png").write_bytes(b"painted over")
    prepare(raw, tmp_path / "out", settings(margin=0.5))
    assert set(decoded) == {"photo.jpg"}
    prepare(raw, tmp_path / "fresh", settings(margin=0.5))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert ".uncropped/moved.png" in contents(tmp_path / "out")


def test_a_stopped_run_keeps_them_too(tmp_path, raw, settings, contents, monkeypatch):
    decode, seen = picture_module.decode, []

    def stopping(path, *more, **named):
        seen.append(path.name)
        if path.name == "small.png":
            raise KeyboardInterrupt
        return decode(path, *more, **named)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(picture_module, "decode", stopping)
        prepare(raw, tmp_path / "out", settings(margin=0.5))
    again = []
    monkeypatch.setattr(picture_module, "decode", counted(again))
    prepare(raw, tmp_path / "out", settings(margin=0.5))
    assert again == ["small.png"] and len(set(seen)) == 3
    prepare(raw, tmp_path / "fresh", settings(margin=0.5))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_the_cost_is_told_and_captioning_takes_them_along(tmp_path, raw, settings, capfd):
    prepare(raw, tmp_path / "out", settings(margin=0.5))
    taken = sum(path.stat().st_size for path in (tmp_path / "out" / ".uncropped").rglob("*.png")) / 1e6
    told = capfd.readouterr().out
    assert f"uncropped pictures take {taken:.1f} MB; 1 have no pixels for the whole margin of 0.5" in told
    caption(tmp_path / "out", raw, tmp_path / "captioned", NobodySettings(trigger="sks"), Source(path="none"))
    for row in rows_of(tmp_path / "captioned").values():
        name = row["uncropped"]["file_name"]
        assert (tmp_path / "captioned" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
