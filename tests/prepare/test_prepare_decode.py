"""What becomes of the pixels."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from lorakiln.prepare.decode import decode
from lorakiln.prepare.picture import resize_and_crop
from lorakiln.prepare.unusable_files import Refused


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_comes_before_size(tmp_path, settings, noise, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise(50, 80).save(tmp_path / "a.png", exif=exif)
    decoded = decode(tmp_path / "a.png", settings())
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    assert decoded.size == expected.size == ((50, 80) if orientation < 5 else (80, 50))
    assert np.array_equal(decoded.image, expected)
    assert decoded.placement.bucket == ((48, 80) if orientation < 5 else (80, 48))


def test_tiff_is_put_upright_once(tmp_path, settings, noise):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = noise(50, 80)
    picture.save(tmp_path / "a.tif", exif=exif)
    decoded = decode(tmp_path / "a.tif", settings())
    assert decoded.size == (80, 50)
    assert np.array_equal(decoded.image, picture.transpose(Image.Transpose.ROTATE_270))


def test_a_large_jpeg_is_drafted_upright_and_as_good_as_decoded_whole(tmp_path, settings, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(1800, 1200).save(tmp_path / "a.jpg", quality=95, exif=exif)
    decoded = decode(tmp_path / "a.jpg", settings(resolution=256, bucket={"min": 128, "max": 512, "step": 32}))
    placement = decoded.placement
    assert decoded.size == (1200, 1800)
    assert placement.resized == (213, 320) and placement.bucket == (192, 320)
    # Half the size: a quarter would be less than twice what is needed.
    assert decoded.image.size == (600, 900)
    whole = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    expected = whole.resize(placement.resized, Image.Resampling.LANCZOS).crop(placement.crop)
    assert psnr(resize_and_crop(decoded.image, placement), expected) > 44


def test_a_jpeg_not_much_larger_than_needed_is_decoded_whole(tmp_path, settings, photo):
    photo(200, 200).save(tmp_path / "a.jpg")
    assert decode(tmp_path / "a.jpg", settings()).image.size == (200, 200)


def psnr(one, other) -> float:
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return 10 * np.log10(255**2 / np.mean(difference**2))


RAMP = (np.arange(64 * 64, dtype=np.uint32) * 16).astype(np.uint16).reshape(64, 64)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_keeps_its_upper_bits(tmp_path, settings, name):
    Image.fromarray(RAMP).save(tmp_path / name)
    decoded = decode(tmp_path / name, settings())
    assert np.array_equal(np.asarray(decoded.image), np.repeat((RAMP >> 8)[..., None], 3, axis=2))


def test_16_bit_grey_of_the_other_byte_order(tmp_path, settings):
    swapped = RAMP.astype(">u2")
    header = [
        (256, 4, 64),
        (257, 4, 64),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, 64),
        (279, 4, 8192),
    ]
    tags = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">I", value) if kind == 4 else struct.pack(">HH", value, 0))
        for tag, kind, value in header
    )
    directory = struct.pack(">H", len(header)) + tags + b"\0\0\0\0"
    (tmp_path / "a.tif").write_bytes(b"MM\0*" + struct.pack(">I", 8 + 8192) + swapped.tobytes() + directory)
    assert np.array_equal(np.asarray(decode(tmp_path / "a.tif", settings()).image)[..., 0], RAMP >> 8)


def test_16_bit_grey_with_a_transparent_shade(tmp_path, settings):
    shades = np.full((64, 64), 0x8001, np.uint16)
    shades[:, :32] = 0x8000
    Image.fromarray(shades).save(tmp_path / "a.png", transparency=0x8000)
    decoded = np.asarray(decode(tmp_path / "a.png", settings(background="#ff0000")).image)
    assert (decoded[:, :32] == (255, 0, 0)).all()
    assert (decoded[:, 32:] == 0x80).all()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_32_bits_are_refused(tmp_path, settings, kind):
    Image.fromarray(np.ones((64, 64), kind)).save(tmp_path / "a.tif")
    with pytest.raises(Refused, match="no stated range"):
        decode(tmp_path / "a.tif", settings())


def test_transparency_shows_the_background_not_what_is_hidden(tmp_path, settings):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 1] = 200  # green, hidden in the left half, half visible in the right
    pixels[:, 32:, 3] = 102
    Image.fromarray(pixels).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png", settings(background="#6400c8"))
    shown = np.asarray(decoded.image)
    assert (shown[:, :32] == (100, 0, 200)).all()
    # 0.4 x (0, 200, 0) + 0.6 x (100, 0, 200)
    assert (shown[:, 32:] == (60, 80, 120)).all()
    assert decoded.notes == ["transparent, drawn on #6400c8"]


def test_opaque_alpha_changes_nothing(tmp_path, settings, noise):
    picture = noise(64, 64)
    picture.convert("RGBA").save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png", settings(background="black"))
    assert np.array_equal(decoded.image, picture) and decoded.notes == []


@pytest.mark.parametrize("name", ["palette.png", "palette.gif", "grey_alpha.png", "colour_key.png"])
def test_other_kinds_of_transparency(tmp_path, settings, name):
    if name.startswith("palette"):
        picture = Image.new("P", (64, 64), 1)
        picture.putpalette([0, 255, 0, 10, 20, 30])
        picture.paste(0, (0, 0, 32, 64))
        picture.save(tmp_path / name, transparency=0)
    elif name.startswith("grey"):
        shades = np.full((64, 64, 2), (77, 255), np.uint8)
        shades[:, :32, 1] = 0
        Image.fromarray(shades, "LA").save(tmp_path / name)
    else:
        picture = Image.new("RGB", (64, 64), (10, 20, 30))
        picture.paste((1, 2, 3), (0, 0, 32, 64))
        picture.save(tmp_path / name, transparency=(1, 2, 3))
    shown = np.asarray(decode(tmp_path / name, settings(background="blue")).image)
    assert (shown[:, :32] == (0, 0, 255)).all()
    assert (shown[:, 32:] == ((77, 77, 77) if name.startswith("grey") else (10, 20, 30))).all()


def test_one_bit(tmp_path, settings):
    picture = Image.new("1", (64, 64), 0)
    picture.paste(1, (0, 0, 32, 64))
    picture.save(tmp_path / "a.png")
    shown = np.asarray(decode(tmp_path / "a.png", settings()).image)
    assert (shown[:, :32] == 255).all() and (shown[:, 32:] == 0).all()


# Adobe RGB (1998): colorants adapted to D50, columns R, G, B; gamma 563/256.
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def adobe_profile(name: bytes = b"Wide RGB") -> bytes:
    """A matrix profile (ICC.1:2001-04), version 2.1."""

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, 563)
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" + bytes(8 + 3 + 67)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(white)}
    for letter, column in zip("rgb", ADOBE.T, strict=True):
        tags |= {letter.encode() + b"XYZ": xyz(column), letter.encode() + b"TRC": curve}
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    body = table + data
    head = struct.pack(
        ">I4sI4s4s4s12s4s",
        128 + len(body),
        b"lcms",
        0x02100000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        bytes(12),
        b"acsp",
    )
    head += bytes(28) + struct.pack(">3i", *(round(value * 65536) for value in white))
    return head.ljust(128, b"\0") + body


def adobe_to_srgb(colours: np.ndarray) -> np.ndarray:
    linear = np.linalg.inv(SRGB) @ ADOBE @ (colours.T / 255) ** (563 / 256)
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).T * 255


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "alpha.png"])
def test_colour_profile_is_applied(tmp_path, settings, name):
    colours = np.array([[40, 160, 60], [200, 100, 50], [128, 128, 128], [255, 255, 255], [90, 90, 180]])
    picture = Image.fromarray(np.repeat(np.repeat(colours[None].astype(np.uint8), 64, 0), 16, 1))
    if name == "alpha.png":
        picture = picture.convert("RGBA")
        picture.putpixel((0, 0), (0, 0, 0, 0))
    more = {"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}
    picture.save(tmp_path / name, icc_profile=adobe_profile(), **more)
    decoded = decode(tmp_path / name, settings())
    shown = np.asarray(decoded.image)[32, 8::16].astype(float)
    assert np.abs(shown - adobe_to_srgb(colours)).max() <= 2
    # A picture that was left alone would be much further off.
    assert np.abs(colours - adobe_to_srgb(colours)).max() > 20
    assert decoded.notes[0] == "colours converted from Wide RGB"


def test_srgb_and_damaged_profiles_leave_the_colours_alone(tmp_path, settings, noise):
    picture = noise(64, 64)
    picture.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    decoded = decode(tmp_path / "srgb.png", settings())
    assert np.array_equal(decoded.image, picture) and decoded.notes == []
    picture.save(tmp_path / "damaged.png", icc_profile=b"no profile at all" * 20)
    decoded = decode(tmp_path / "damaged.png", settings())
    assert np.array_equal(decoded.image, picture)
    assert decoded.notes == ["damaged colour profile: ignored"]


def test_another_profile_is_converted_whatever_its_name(tmp_path, settings):
    """As "GIMP built-in Linear sRGB" is, whose pictures come out dark where its name is believed."""
    colours = np.array([40, 160, 60])
    picture = Image.new("RGB", (64, 64), tuple(colours.tolist()))
    picture.save(tmp_path / "a.png", icc_profile=adobe_profile(b"Nearly sRGB"))
    decoded = decode(tmp_path / "a.png", settings())
    assert np.abs(np.asarray(decoded.image)[32, 32] - adobe_to_srgb(colours[None])[0]).max() <= 2
    assert decoded.notes[0] == "colours converted from Nearly sRGB"


def test_cmyk_has_colours(tmp_path, settings):
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    decoded = decode(tmp_path / "a.jpg", settings())
    assert np.abs(np.asarray(decoded.image, int) - (255, 0, 0)).max() <= 3
    assert decoded.notes == ["CMYK without a colour profile: colours are approximate"]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_first_frame_of_an_animation(tmp_path, settings, name):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(Refused, match="animated"):
        decode(tmp_path / name, settings())
    decoded = decode(tmp_path / name, settings(animated="first_frame"))
    assert (np.asarray(decoded.image) == (255, 0, 0)).all()
    assert decoded.notes == ["the first of 3 frames"]


def test_a_phone_s_jpeg_with_a_second_view_is_no_animation(tmp_path, settings, noise):
    buffer = BytesIO()
    noise(64, 64).save(buffer, "MPO", save_all=True, append_images=[noise(64, 64, 1)])
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert decode(tmp_path / "a.jpg", settings()).format == "MPO"


def test_damaged_exif_does_no_harm(tmp_path, settings, noise):
    noise(64, 64).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert decode(tmp_path / "a.jpg", settings()).size == (64, 64)


def test_pillow_s_own_limit_of_pixels_is_left_as_it_was(tmp_path, settings, noise):
    noise(64, 64).save(tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS
    decode(tmp_path / "a.png", settings())
    with pytest.raises(Refused):
        decode(tmp_path / "a.png", settings(max_pixels=10))
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_progressive_jpeg_is_its_baseline_twin(tmp_path, settings, photo):
    picture = photo(64, 64)
    picture.save(tmp_path / "baseline.jpg", quality=90)
    picture.save(tmp_path / "progressive.jpg", quality=90, progressive=True)
    one, two = (decode(tmp_path / f"{name}.jpg", settings()).image for name in ("baseline", "progressive"))
    assert np.array_equal(np.asarray(one), np.asarray(two))


def test_an_arithmetic_coded_jpeg_is_read_or_refused_by_name(tmp_path, settings, photo):
    """Made of a baseline one: SOF0 becomes SOF9 and the Huffman tables go (ITU T.81, table B.1), so the pixels are no
    picture's; but any bytes are some arithmetic code."""
    photo(64, 64).save(tmp_path / "a.jpg", optimize=True)
    content = (tmp_path / "a.jpg").read_bytes()
    kept, at = content[:2], 2
    while content[at + 1] != 0xDA:
        length = int.from_bytes(content[at + 2 : at + 4], "big") + 2
        segment = content[at : at + length]
        if segment[1] == 0xC0:
            segment = b"\xff\xc9" + segment[2:]
        kept += b"" if segment[1] == 0xC4 else segment
        at += length
    (tmp_path / "a.jpg").write_bytes(kept + content[at:])
    try:
        assert decode(tmp_path / "a.jpg", settings()).size == (64, 64)
    except Refused as refused:  # by a Pillow whose libjpeg was built without it, or for what is left of the other code
        assert "arithmetic" in refused.detail or "extraneous bytes before marker 0xd9" in refused.detail
