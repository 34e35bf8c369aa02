"""Any picture's pixels as 8-bit sRGB: 16-bit grey, palettes, CMYK, colour profiles, transparency."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms, ImageColor

from lorakiln.prepare.unusable_files import Refused

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
GREY = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# Formats whose 32-bit integers are 16-bit greys, scaled to 0..65535.
WIDE_GREYS = ("PPM", "PNG")
SRGB = ImageCms.createProfile("sRGB")
# Greys and full colours, by which a profile is told from sRGB.
PROBE = np.array([[(v, v, v), (v, 0, 0), (0, v, 0), (0, 0, v)] for v in range(0, 256, 15)], dtype=np.uint8)
SAME = 3  # levels


def check_mode(image: Image.Image) -> None:
    """Raise Refused for pixels whose range nobody states: 32-bit integers and floats."""
    if image.mode == "I" and image.format in WIDE_GREYS:
        return
    if image.mode in ("I", "F") or image.mode not in GREY + COLOUR:
        raise Refused(
            "pixels of a kind that has no stated range or is not supported",
            "save it with 8 or 16 bits a channel in grey or RGB",
            "32-bit" if image.mode in ("I", "F") else f"mode {image.mode}",
        )


def to_srgb(image: Image.Image, background: str) -> tuple[Image.Image, list[str]]:
    """RGB pixels in [0, 255] and notes on what was done.

    Args:
        image: loaded, of a mode that `check_mode` accepts.
        background: the CSS colour that shows through transparent pixels.
    """
    profile = image.info.get("icc_profile")
    if image.mode in (*SIXTEEN_BITS, "I"):
        image = _eight_bits(image)
    grey = image.mode in GREY
    if not image.has_transparency_data:
        if image.mode not in ("L", "RGB", "CMYK"):
            image = image.convert("L" if grey else "RGB")
        return _convert(image, profile)
    # Palettes and colour keys become an alpha channel by way of RGBA.
    whole = image.convert("RGBA")
    alpha = whole.getchannel("A")
    colours, notes = _convert(whole.getchannel("R") if grey else whole.convert("RGB"), profile)
    if alpha.getextrema() == (255, 255):
        return colours, notes
    behind = Image.new("RGB", image.size, ImageColor.getrgb(background)[:3])
    return Image.composite(colours, behind, alpha), [*notes, f"transparent, drawn on {background}"]


def take_alpha(image: Image.Image) -> Image.Image | None:
    """How opaque a loaded picture's pixels are, L in [0, 255]; None where all of them are wholly so."""
    if image.mode in (*SIXTEEN_BITS, "I"):
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper 8 of 16 bits (Pillow's own convert would clip to white); a colour key becomes an alpha channel."""
    shades = np.asarray(image).astype(np.uint16)
    grey = Image.fromarray((shades >> 8).astype(np.uint8))
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    alpha = np.where(shades == key, 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(alpha)))


def _convert(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, list[str]]:
    """An L, RGB or CMYK picture in sRGB."""
    if not profile:
        notes = ["CMYK without a colour profile: colours are approximate"] if image.mode == "CMYK" else []
        return image.convert("RGB"), notes
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        name = (source.profile.profile_description or "an unnamed profile").strip()
        if space == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if space != {"L": "GRAY"}.get(image.mode, image.mode):
            return image.convert("RGB"), [f"colour profile {name} is for {space}: ignored"]
        # By what it does, and not by its name: "GIMP built-in Linear sRGB" is another.
        if space == "RGB" and _is_srgb(source):
            return image, []
        converted = _to_srgb(image, source)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB"), ["damaged colour profile: ignored"]
    return converted, [f"colours converted from {name}"]


def _to_srgb(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image,
        source,
        SRGB,
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # as it is for a picture that is changed in place
    return converted


def _is_srgb(source: ImageCms.ImageCmsProfile) -> bool:
    """Whether a profile's colours are sRGB's but for rounding: vendors' profiles differ in their last digits."""
    probe = np.asarray(_to_srgb(Image.fromarray(PROBE), source)).astype(int)
    return int(np.abs(probe - PROBE).max()) <= SAME
