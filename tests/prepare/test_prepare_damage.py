"""What decoders notice and do not raise."""

import os
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.prepare import damage, lzw, prepare, stage
from lorakiln.prepare.damage import capture_libtiff_warnings, check_data, check_jpeg, find_missing_decoder
from lorakiln.prepare.decode import decode
from lorakiln.prepare.unusable_files import Refused
from tests.prepare.test_prepare_bad_files import cut_tiff, photo

END = b"\xff\xd9"
KINDS = [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]


def pixels(content):
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("options", KINDS)
def test_many_of_the_changed_bytes_that_one_can_see_are_found(tmp_path, options):
    """200 JPEGs with one changed byte each; the rest of the wrong ones are data of other pictures that are whole."""
    whole, rng = photo(**options), np.random.default_rng(0)
    right, path = pixels(whole), tmp_path / "a.jpg"
    start = whole.index(b"\xff\xda")  # of the picture's data, behind the tables
    wrong = found = 0
    for _ in range(200):
        place, change = int(rng.integers(start + 14, len(whole) - 2)), int(rng.integers(1, 256))
        content = whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :]
        path.write_bytes(content)
        try:
            off = np.abs(pixels(content) - right).max(axis=-1) > 24
        except (OSError, SyntaxError, ValueError):
            continue  # Pillow refuses it
        if off.mean() > 0.001:
            wrong += 1
            found += is_refused(path)
    assert wrong >= 40 and found / wrong > 0.33, (wrong, found)


def is_refused(path):
    try:
        check_jpeg(path.read_bytes())
    except Refused as refused:
        assert refused.reason == "damaged or cut off" and refused.detail
        return True
    return False


@pytest.mark.parametrize("options", KINDS)
def test_whole_files_are_not_refused(tmp_path, options):
    path = tmp_path / "a.jpg"
    for seed in range(5):
        path.write_bytes(photo(seed, **options))
        assert check_jpeg(path.read_bytes()) == []


@pytest.mark.parametrize(
    ("change", "noted"),
    [
        (lambda whole: whole + b"a thumbnail, a film, a depth map" * 99, 0),
        (lambda whole: whole[:-2] + b"\xff" * 90 + END, 0),
        (lambda whole: whole[:-2] + b"\x55" * 9 + END, 1),
        (lambda whole: whole[:-2] + bytes(700) + END, 1),
        (lambda whole: whole[:-2] + b"\x12\x34\x56\x78" + END, 1),
        (lambda whole: whole.replace(b"JFIF\0\x01", b"JFIF\0\x09"), 0),
        (lambda whole: whole[:2] + b"\xff\xee\x00\x0eAdobe\0d\0\0\0\0\x01" + whole[2:], 0),
    ],
    ids=["trailer", "fill bytes", "equal bytes", "zeros", "a few bytes", "a later JFIF", "Adobe's marker"],
)
def test_what_cameras_add_is_not_damage(tmp_path, settings, change, noted):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jpg").write_bytes(change(photo()))
    prepare(tmp_path / "raw", tmp_path / "out", settings())
    (row,) = read_jsonl(tmp_path / "out" / "metadata.jsonl")
    said = [one for one in row["notes"] if one.endswith("extraneous bytes before marker 0xd9")]
    assert len(said) == noted


def test_without_the_library_it_is_said_what_is_not_noticed(tmp_path, settings, monkeypatch, capsys):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jpg").write_bytes(photo()[:-2] + bytes(range(1, 99)) + END)
    monkeypatch.setattr(damage, "simplejpeg", None)
    monkeypatch.setattr(stage, "simplejpeg", None)
    prepare(tmp_path / "raw", tmp_path / "out", settings())
    assert "simplejpeg is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "options", "share"),
    [
        ("GIF", {}, 0.9),
        ("TIFF", {"compression": "tiff_lzw"}, 0.9),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 1.0),
        ("TIFF", {"compression": "jpeg", "quality": 88}, 0.25),
        ("PNG", {}, 1.0),
    ],
    ids=["GIF", "TIFF with LZW", "TIFF with deflate", "TIFF with JPEG", "PNG"],
)
def test_so_many_of_the_changed_bytes_that_one_can_see_are_found(tmp_path, settings, kind, options, share):
    """40 files with one changed byte each; of those that look otherwise, or cannot be read, this share is refused."""
    whole, rng, path = saved(kind, **options), np.random.default_rng(0), tmp_path / f"a.{kind.lower()}"
    path.write_bytes(whole)
    assert decode(path, settings()).notes == []
    right, wrong, found = pixels(whole), 0, 0
    for _ in range(40):
        place, change = int(rng.integers(1000, len(whole) - 1000)), int(rng.integers(1, 256))
        content = whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :]
        path.write_bytes(content)
        refused = is_refused_by(path, settings())
        try:
            off = np.abs(pixels(content) - right).max(axis=-1) > 24
        except (OSError, SyntaxError, ValueError):
            off = np.ones(1)
        wrong += off.mean() > 0.001
        found += refused and off.mean() > 0.001
    assert wrong >= 10 and found >= share * wrong, (wrong, found)


def saved(kind, **options):
    buffer = BytesIO()
    Image.open(BytesIO(photo(0, (200, 150)))).save(buffer, kind, **options)
    return buffer.getvalue()


def is_refused_by(path, settings):
    try:
        decode(path, settings)
    except Refused:
        return True
    return False


@pytest.mark.parametrize("kind", ["BMP", "WEBP"])
def test_formats_without_a_checksum_are_taken_as_they_are(tmp_path, settings, kind):
    (tmp_path / "raw").mkdir()
    for number in range(10):
        content = bytearray(saved(kind))
        content[len(content) // 2 + number] ^= 0xFF
        (tmp_path / "raw" / f"{number}.{kind.lower()}").write_bytes(content)
    prepare(tmp_path / "raw", tmp_path / "out", settings(on_bad="skip"))
    assert len(read_jsonl(tmp_path / "out" / "metadata.jsonl")) >= 8


WHOLE = [
    *[("GIF", mode, {}) for mode in ("1", "L", "P", "RGB")],
    *[("GIF", "P", {"interlace": interlace}) for interlace in (0, 1)],
    *[("TIFF", mode, {"compression": "tiff_lzw"}) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16")],
    *[("TIFF", mode, {"compression": "tiff_adobe_deflate"}) for mode in ("1", "L", "RGB", "I;16")],
    *[("TIFF", mode, {"compression": "jpeg"}) for mode in ("L", "RGB", "CMYK")],
    *[("TIFF", "RGB", {"compression": "tiff_lzw", "tiffinfo": {278: rows}}) for rows in (1, 7, 240, 9999)],
    *[("TIFF", "RGB", {"compression": kind}) for kind in ("packbits", "tiff_deflate", "raw", "zstd", "lzma")],
]


@pytest.mark.parametrize("size", [(161, 120), (37, 53)])
def test_whole_files_of_every_kind_are_taken(tmp_path, settings, size):
    for kind, mode, options in WHOLE:
        image = Image.open(BytesIO(photo(0, size)))
        image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
        image.save(tmp_path / f"a.{kind}", kind, **options)
        with Image.open(tmp_path / f"a.{kind}") as opened:
            assert check_data(opened, tmp_path / f"a.{kind}") == [], (mode, options)


# Ten rows of ten pixels of four colours, a widely known example.
SAMPLE = bytes.fromhex("8C2D99872A1CDC33A00275EC95FAA8DE608C04914C01")


@pytest.mark.parametrize(
    ("codes", "count"),
    [
        (SAMPLE, 100),
        (SAMPLE[:-1], 100),  # cut off within the code that ends it
        # Clear, 1, 6 (the entry that it makes itself), 6, 2, end: 3 bits each, and 4 from the entry 8 on.
        ([(4, 3), (1, 3), (6, 3), (6, 3), (2, 4), (5, 4)], 6),
        ([(4, 3), (1, 3), (7, 3), (5, 3)], -1),  # 7 is not there yet
        ([(4, 3), (1, 3)], 1),
    ],
)
def test_values_of_lzw_are_counted(codes, count):
    if isinstance(codes, list):
        value = shift = 0
        for code, width in codes:
            value, shift = value | code << shift, shift + width
        codes = value.to_bytes(-(-shift // 8), "little")
    assert lzw.count_values(codes, 2, lzw.GIF) == count


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_than_rgb_are_checked_too(tmp_path, mode):
    buffer = BytesIO()
    Image.open(BytesIO(photo())).convert(mode).save(buffer, "JPEG", quality=88)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert check_jpeg((tmp_path / "a.jpg").read_bytes()) == []
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[: -len(buffer.getvalue()) // 3] + bytes(range(1, 99)) + END)
    assert is_refused(tmp_path / "a.jpg")


def test_a_phones_jpeg_with_a_second_view_is_checked_too(tmp_path, settings):
    buffer = BytesIO()
    views = [Image.open(BytesIO(photo(seed))) for seed in (0, 1)]
    views[0].save(buffer, "MPO", save_all=True, append_images=views[1:], quality=88)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "whole.jpg").write_bytes(buffer.getvalue())
    first = buffer.getvalue().index(END)
    (tmp_path / "raw" / "wrong.jpg").write_bytes(
        buffer.getvalue()[:first] + bytes(range(1, 99)) + buffer.getvalue()[first:]
    )
    prepare(tmp_path / "raw", tmp_path / "out", settings(on_bad="skip"))
    (row,) = read_jsonl(tmp_path / "out" / "metadata.jsonl")
    (entry,) = read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    assert (row["source"], entry["source"]) == ("whole.jpg", "wrong.jpg")


def test_libtiffs_words_stand_with_the_files_name_and_not_alone(tmp_path, settings, noise, capfd):
    (tmp_path / "raw").mkdir()
    noise(64, 64).save(tmp_path / "raw" / "good.png")
    (tmp_path / "raw" / "cut.tif").write_bytes(cut_tiff())
    prepare(tmp_path / "raw", tmp_path / "out", settings(on_bad="skip"))
    (entry,) = read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    assert entry["source"] == "cut.tif" and "LZWDecode" in entry["reason"]
    told = [line for line in capfd.readouterr().err.splitlines() if "LZWDecode" in line]
    assert len(told) == 1 and told[0].strip().startswith("cut.tif (")


def test_who_is_ended_while_libtiff_reads_is_heard(capfd):
    with pytest.raises(SystemExit), capture_libtiff_warnings():
        os.write(2, b"interrupted by SIGTERM\n")
        sys.exit(143)
    assert capfd.readouterr().err == "interrupted by SIGTERM\n"
    with capture_libtiff_warnings() as told:
        os.write(2, b"one\ntwo\none\n")
    assert told == ["one", "two"] and capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "told", ["Unsupported BMP bitfields layout", "unknown pixel mode", "Unsupported BMP header type (56)"]
)
def test_a_kind_that_the_decoder_lacks_is_not_called_damaged(told):
    refused = find_missing_decoder("BMP", told)
    assert (refused.reason, refused.detail) == ("a kind of BMP that is not read here", told)
    assert find_missing_decoder("BMP", "image file is truncated") is None
