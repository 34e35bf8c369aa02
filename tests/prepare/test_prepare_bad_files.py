"""Every kind of bad file: named with reason and remedy, never a crash or a hang, and never touched."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.prepare import picture as picture_module
from lorakiln.prepare import prepare


def noise_bytes(ending: str, size: tuple[int, int] = (64, 64)) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    shades = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(shades).save(buffer, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[ending])
    return buffer.getvalue()


def flipped_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text_bomb(count: int, size: int) -> bytes:
    """A good PNG with texts that are small in the file and large in memory."""
    good = noise_bytes("png")
    texts = b"".join(chunk(b"zTXt", b"%d\0\0" % number + zlib.compress(bytes(size), 9)) for number in range(count))
    return good[:33] + texts + good[33:]


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is huge and holds next to nothing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def pages(kind: str) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    frames = [Image.new("RGB", (64, 64), shade) for shade in ("red", "green", "blue")]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def photo(seed: int = 0, size: tuple[int, int] = (320, 240), **options) -> bytes:
    """A JPEG of what photographs are made of: soft shades, edges and some grain."""
    from io import BytesIO

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]] / size[1]
    shades = np.stack([np.sin(k * x + seed) + np.cos((k + 2) * y) for k in (3, 5, 8)], axis=-1) * 50 + 120
    shades[(x - 0.6) ** 2 + (y - 0.5) ** 2 < 0.06] = (200, 80, 40)
    buffer = BytesIO()
    pixels = (shades + rng.normal(0, 6, shades.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", **({"quality": 88} | options))
    return buffer.getvalue()


def bmp(compression: int, bits: int) -> bytes:
    """A BMP of 16x16 pixels by its header."""
    pixels = bytes(16 * 16 * 8)
    header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, bits, compression, len(pixels), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels


def cut_tiff() -> bytes:
    """A TIFF whose LZW data end early, though the file does not."""
    from io import BytesIO

    buffer = BytesIO()
    shades = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(shades).save(buffer, "TIFF", compression="tiff_lzw")
    content = bytearray(buffer.getvalue())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    return bytes(content)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
# Name -> content, words of the reason, words of the remedy.
CONTENTS: dict[str, tuple[bytes, str, str]] = {
    "truncated_jpg.jpg": (noise_bytes("jpg")[:-500], "damaged or cut off", "copy or download it again"),
    "truncated_png.png": (noise_bytes("png")[:-500], "damaged or cut off", "copy or download it again"),
    "truncated_webp.webp": (noise_bytes("webp")[:-500], "damaged or cut off", "copy or download it again"),
    "flipped.png": (flipped_byte(noise_bytes("png")), "damaged or cut off", "copy or download it again"),
    "wrong_byte.jpg": (flipped_byte(photo(quality=60)), "damaged or cut off: ", "copy or download it again"),
    "lzw.tif": (cut_tiff(), "damaged or cut off: LZWDecode", "copy or download it again"),
    "png_inside.bmp": (bmp(5, 24), "a kind of BMP that is not read here: Unsupported BMP comp", "convert it to PNG"),
    "two_bits.bmp": (bmp(0, 2), "a kind of BMP that is not read here: Unsupported BMP pixel", "convert it to PNG"),
    "views.mpo": (photo(), "pictures from several sides (MPO)", "name it .jpg"),
    "sizes.ico": (b"\0\0\1\0", "an icon of several sizes", "export it as PNG"),
    **{
        f"other{ending}": (b"anything", f"a picture of a kind that is not read here ({ending})", "convert it to PNG")
        for ending in (".tga", ".qoi", ".dds", ".pcx", ".jpf", ".dib")
    },
    "empty.png": (b"", "empty file", "copy or download it again"),
    "html.jpg": (b"\n<!DOCTYPE html><html>404</html>", "a web page (HTML)", "download the picture itself"),
    "lfs.png": (LFS, "a Git LFS pointer", "git lfs pull"),
    "dvc.png": (b"outs:\n- md5: abc\n  path: dvc.png\n", "a DVC pointer", "dvc pull"),
    "annex.png": (b"/annex/objects/SHA256E-s1--00.png\n", "a git-annex pointer", "git annex get"),
    "zeros.jpg": (bytes(1000), "nothing but zeros", "copy or download it again"),
    "text.png": (b'{"error": "forbidden"}', "text instead of a picture", "copy or download it again"),
    "odd.png": (b"\x93\xfa\x00\x01\xff", "not a picture in a known format", "convert it to PNG"),
    "drawing.svg": (b"<?xml version='1.0'?><svg xmlns='x'/>", "an SVG drawing", "export it as PNG"),
    "page.pdf": (b"%PDF-1.7\n", "a PDF document", "export it as PNG"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "a PostScript document", "export it"),
    "layers.psd": (b"8BPS\0\x01" + bytes(20), "a Photoshop document", "export it as PNG"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture", "lorakiln[heif]"),
    "new.jxl": (b"\xff\x0a\x00\x10", "a JPEG XL picture", "export it as PNG"),
    "hidden_psd.png": (b"8BPS\0\x01" + bytes(20), "a Photoshop document", "export it as PNG"),
    "hidden_jxl.png": (b"\xff\x0a\x00\x10", "a JPEG XL picture", "convert it to PNG"),
    "hidden_svg.png": (b"<svg xmlns='x'/>", "an SVG drawing", "export it as PNG"),
    "hidden_eps.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "a PostScript document", "export it"),
    "hidden_pdf.png": (b"%PDF-1.7\n", "a PDF document", "export"),
    "clip.png": (b"\0\0\0\x18ftypisom\0\0\x02\0", "a video", "export single frames"),
    "bundle.jpg": (b"PK\x03\x04" + bytes(20), "a zip archive", "unpack it"),
    "camera.nef": (b"II*\0" + bytes(100), "a camera's raw file", "develop it"),
    "bomb.png": (png_header(60000, 60000), "too many pixels", "prepare.max_pixels"),
    "large.png": (png_header(11000, 10000), "110,000,000 pixels, the limit is 100,000,000", "prepare.max_pixels"),
    "text_bomb.png": (text_bomb(1, 10**8), "more text in it than a picture needs", "save it again without metadata"),
    "text_bombs.png": (text_bomb(80, 10**6), "more text in it than a picture needs", "save it again without metadata"),
    "panorama.png": (noise_bytes("png", (650, 100)), "6.5 to 1, the limit is 6 to 1", "prepare.max_aspect"),
    "speck.png": (noise_bytes("png", (1, 1)), "1x1, the limit is 8 pixels", "prepare.min_side"),
    "thread.png": (noise_bytes("png", (65000, 10)), "6500.0 to 1, the limit is 6 to 1", "prepare.max_aspect"),
    "pages.tif": (pages("TIFF"), "animated or with several pages: 3 frames", "prepare.animated=first_frame"),
    "moving.gif": (pages("GIF"), "animated or with several pages: 3 frames", "prepare.animated=first_frame"),
    "dot.png": (noise_bytes("png", (7, 8)), "7x8, the limit is 8 pixels", "prepare.min_side"),
}
SPECIAL: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "folder.png": (lambda path: path.mkdir(), "a folder with a picture's name", "rename or remove it"),
    "pipe.png": (os.mkfifo, "not a regular file", "remove it"),
    "dangling.png": (lambda path: path.symlink_to("nowhere.png"), "a link to nothing", "mend the link"),
    "outside.png": (
        lambda path: path.symlink_to(path.parent.parent / "secret.png"),
        "a link that leads out",
        "prepare.follow_symlinks",
    ),
    "outside": (
        lambda path: path.symlink_to(path.parent.parent / "elsewhere", target_is_directory=True),
        "a link that leads out",
        "prepare.follow_symlinks",
    ),
    "more.dvc": (
        lambda path: path.write_text("outs:\n- md5: abc.dir\n  path: more\n"),
        "only its DVC pointer is here",
        "dvc pull",
    ),
    "absent.png.dvc": (
        lambda path: path.write_text("outs:\n- md5: abc\n  path: absent.png\n"),
        "only its DVC pointer is here",
        "dvc pull",
    ),
}


@pytest.fixture
def raw(tmp_path, noise) -> Path:
    """One good picture among every kind of bad file."""
    raw = tmp_path / "raw"
    (tmp_path / "elsewhere").mkdir()
    raw.mkdir()
    noise(64, 64).save(tmp_path / "secret.png")
    noise(64, 64).save(tmp_path / "elsewhere" / "secret.png")
    noise(64, 64).save(raw / "good.png")
    for name, (content, _, _) in CONTENTS.items():
        (raw / name).write_bytes(content)
    for name, (make, _, _) in SPECIAL.items():
        make(raw / name)
    return raw


EXPECTED = {name.removesuffix(".dvc"): words for name, (_, *words) in (CONTENTS | SPECIAL).items()}


@pytest.mark.timeout(60)
def test_one_list_of_all_bad_files_and_nothing_touched(tmp_path, raw, settings, contents):
    before = contents(raw, times=True)
    with pytest.raises(UserError) as caught:
        prepare(raw, tmp_path / "out", settings())
    message = str(caught.value)
    assert message.startswith(f"{raw}: {len(EXPECTED)} files of {len(EXPECTED) + 1} cannot be used:")
    for name, (reason, fix) in EXPECTED.items():
        assert f"    {name}" in message and all(part in message for part in reason.split(": ")), name
        assert fix in message, name
    assert "set prepare.on_bad=skip" in message
    assert contents(raw, times=True) == before
    assert not (tmp_path / "out").exists()
    listed = {row["source"]: row for row in read_jsonl(tmp_path / "out.quarantine.jsonl")}
    check_quarantine(listed)


@pytest.mark.timeout(60)
def test_skip_goes_on_with_what_is_good(tmp_path, raw, settings, contents, capfd):
    before = contents(raw, times=True)
    prepare(raw, tmp_path / "out", settings(on_bad="skip"))
    assert [row["file_name"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")] == ["good.png"]
    check_quarantine({row["source"]: row for row in read_jsonl(tmp_path / "out" / "quarantine.jsonl")})
    assert contents(raw, times=True) == before
    printed = capfd.readouterr()
    assert f"left out, {len(EXPECTED)} files" in printed.err
    assert f"prepare: 1 picture (0 reused) in 1 bucket (64x64: 1); {len(EXPECTED)} quarantined" in printed.out


def check_quarantine(listed: dict[str, dict]) -> None:
    assert set(listed) == set(EXPECTED)
    for name, (reason, fix) in EXPECTED.items():
        assert reason in listed[name]["reason"] and fix in listed[name]["fix"], listed[name]


def test_followed_links(tmp_path, settings, noise):
    (tmp_path / "raw").mkdir()
    (tmp_path / "elsewhere").mkdir()
    noise(64, 64).save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "raw" / "folder").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "raw" / "b.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    prepare(tmp_path / "raw", tmp_path / "out", settings(follow_symlinks=True))
    names = [row["file_name"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")]
    assert names == ["b.png", "folder/a.png"]


def test_links_inside_the_folder_are_fine(tmp_path, settings, noise):
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    noise(64, 64).save(tmp_path / "raw" / "deep" / "a.png")
    (tmp_path / "raw" / "b.png").symlink_to("deep/a.png")
    (tmp_path / "raw" / "again").symlink_to("deep", target_is_directory=True)
    prepare(tmp_path / "raw", tmp_path / "out", settings())
    names = [row["file_name"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")]
    assert names == ["b.png", "deep/a.png"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.jpg", "a.png"), ("a.png", "A.png"), ("caf\u00e9.png", "cafe\u0301.png"), ("X/a.png", "x/a.png")],
)
def test_twins_are_refused_with_both_names(tmp_path, settings, noise, one, other):
    for seed, name in enumerate((one, other, "third.png")):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        noise(64, 64, seed).save(tmp_path / "raw" / name)
    with pytest.raises(UserError, match="the same name but for ending") as caught:
        prepare(tmp_path / "raw", tmp_path / "out", settings())
    assert f"{one} (beside {other})" in str(caught.value) and f"{other} (beside {one})" in str(caught.value)
    prepare(tmp_path / "raw", tmp_path / "out", settings(on_bad="skip"))
    assert [row["source"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")] == ["third.png"]


def test_the_document_that_a_picture_was_exported_from_is_no_twin(tmp_path, settings, noise):
    (tmp_path / "raw").mkdir()
    noise(64, 64).save(tmp_path / "raw" / "a.png")
    (tmp_path / "raw" / "a.psd").write_bytes(b"8BPS")
    prepare(tmp_path / "raw", tmp_path / "out", settings(on_bad="skip"))
    assert [row["source"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")] == ["a.png"]
    assert [row["source"] for row in read_jsonl(tmp_path / "out" / "quarantine.jsonl")] == ["a.psd"]


def test_a_name_that_is_not_utf8(tmp_path, settings, noise):
    (tmp_path / "raw").mkdir()
    noise(64, 64).save(tmp_path / "raw" / "a.png")
    os.rename(tmp_path / "raw" / "a.png", os.fsencode(tmp_path / "raw") + b"/caf\xe9.png")
    with pytest.raises(UserError, match="its name is not UTF-8") as caught:
        prepare(tmp_path / "raw", tmp_path / "out", settings())
    assert r"caf\xe9.png" in str(caught.value)


def test_long_lists_are_cut_in_the_message_and_whole_in_the_file(tmp_path, settings):
    (tmp_path / "raw").mkdir()
    for number in range(30):
        (tmp_path / "raw" / f"{number:02}.png").touch()
    with pytest.raises(UserError, match="30 files of 30 cannot be used") as caught:
        prepare(tmp_path / "raw", tmp_path / "out", settings(on_bad="skip"))
    message = str(caught.value)
    assert "19.png" in message and "20.png" not in message and "and 10 more" in message
    assert "no usable picture is left" in message
    assert len(read_jsonl(tmp_path / "out.quarantine.jsonl")) == 30


def test_a_picture_less_than_a_bucket_step_where_nothing_is_enlarged(tmp_path, settings, noise):
    (tmp_path / "raw").mkdir()
    noise(40, 12).save(tmp_path / "raw" / "a.png")
    with pytest.raises(UserError, match="40x12 is less than one bucket step of 16"):
        prepare(
            tmp_path / "raw",
            tmp_path / "out",
            settings(bucket={"min": 32, "max": 128, "step": 16, "no_upscale": True}),
        )


def test_a_full_disk_is_not_the_picture_s_fault(tmp_path, settings, noise, monkeypatch):
    (tmp_path / "raw").mkdir()
    noise(64, 64).save(tmp_path / "raw" / "a.png")

    def full(image, target, *rest, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_module.Image.Image, "save", full)
    with pytest.raises(UserError, match="cannot write: No space left on device"):
        prepare(tmp_path / "raw", tmp_path / "out", settings(on_bad="skip"))
    assert not (tmp_path / "out").exists()
