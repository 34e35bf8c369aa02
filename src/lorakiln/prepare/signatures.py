"""What a file that is no readable picture is instead, told from its first bytes."""

from pathlib import Path

from lorakiln.prepare.unusable_files import Refused

CONVERT = "convert it to PNG, JPEG or WebP"
AGAIN = "copy or download it again, or remove it"

# First bytes, what such a file is, what to do.
BEGINNINGS = [
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer instead of the picture", "run `git lfs pull`"),
    (b"outs:\n- md5:", "a DVC pointer instead of the picture", "run `dvc pull`"),
    (b"/annex/objects/", "a git-annex pointer instead of the picture", "run `git annex get`"),
    (b"%PDF", "a PDF document", "export its pages as PNG"),
    (b"%!PS", "a PostScript document", "export it as PNG"),
    (b"8BPS", "a Photoshop document", "export it as PNG"),
    (b"\xff\x0a", "a JPEG XL picture, which is not supported", CONVERT),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture, which is not supported", CONVERT),
    (b"PK\x03\x04", "a zip archive", "unpack it"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"\x1aE\xdf\xa3", "a video", "export single frames as PNG"),
]
# Bytes 4 to 12 of ISO media files.
BRANDS = {
    **dict.fromkeys(
        (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc", b"ftypmsf1"),
        ("a HEIC picture", "install the extra lorakiln[heif] (pip install pillow-heif), or " + CONVERT),
    ),
    **dict.fromkeys((b"ftypavif", b"ftypavis"), ("an AVIF picture that this Pillow does not read", CONVERT)),
}


def identify_file(path: Path) -> Refused:
    """The reason why Pillow does not know the file."""
    with path.open("rb") as file:
        start = file.read(4096)
    for beginning, reason, fix in BEGINNINGS:
        if start.startswith(beginning):
            return Refused(reason, fix)
    if start[4:12] in BRANDS:
        return Refused(*BRANDS[start[4:12]])
    if start[4:8] == b"ftyp":
        return Refused("a video", "export single frames as PNG")
    if not start.strip(b"\0"):
        return Refused("nothing but zeros, as of a copy that was cut off", AGAIN)
    return _text(start) or Refused(
        "not a picture in a known format", f"{AGAIN}; if it is one, {CONVERT}", f"begins with {start[:8]!r}"
    )


def _text(start: bytes) -> Refused | None:
    try:
        # The last character may be cut in two.
        text = start.decode("utf-8-sig", errors="strict" if len(start) < 4096 else "ignore")
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    text = text.lstrip().lower()
    if "<svg" in text:
        return Refused("an SVG drawing", "export it as PNG")
    if text.startswith(("<!doctype html", "<html", "<head", "<body")):
        return Refused("a web page (HTML) instead of the picture", "download the picture itself")
    return Refused("text instead of a picture", AGAIN, f"begins with {text[:30]!r}")
