"""A folder of pictures as one of pictures that all have one size, each scaled until it covers that and cropped."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL.Image import Image

from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import write_bytes
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.prepare.buckets import Geometry, Size
from lorakiln.prepare.decode import decode
from lorakiln.prepare.picture import resize_and_crop, save_png
from lorakiln.prepare.unusable_files import Refused, drop_settings, explain_unusable
from lorakiln.schema.base import LARGEST_SIDE
from lorakiln.schema.prepare import BucketSettings, PrepareSettings
from lorakiln.sources import UnusableFile, open_source

Format = Literal["png", "jpg", "webp"]
ENDINGS = (".txt", ".caption")
QUALITY = 95  # of a JPEG and a WebP


@dataclass(frozen=True)
class Cropped:
    """What was done.

    Attributes:
        pictures, captions: how many there are.
        enlarged: pictures that were smaller, which look soft.
    """

    pictures: int
    captions: int
    enlarged: tuple[str, ...]


def crop_pictures(pictures: Path, out: Path, size: Size, format: Format = "png") -> Cropped:
    """Write all pictures of a folder upright, in sRGB, and of one size, by the same relative names, and copies of their
    caption files. A crop by hand (`NAME.edit.yaml`) is taken first, and what one excludes is left out.

    Args:
        out: a folder that is not there yet.
        size: (width, height), pixels.

    Raises:
        UserError: there are no pictures, or some cannot be used; `out` is there; the disk is full. Nothing is left.
    """
    check_pulled(pictures)
    if not pictures.is_dir():
        raise UserError("no such folder", where=pictures, fix="name the folder with your pictures")
    if out.exists():
        raise UserError("is there already", where=out, fix="name a folder with --out that is not there yet")
    if out.resolve().is_relative_to(pictures.resolve()):
        raise UserError("lies in the folder of the pictures", where=out, fix="name another with --out")
    source = open_source(pictures, kind="folder")
    found = source.scan()
    if not found.pictures and not found.bad:
        raise UserError("no pictures here", where=pictures, fix="name the folder with your pictures")
    bucket = BucketSettings(enable=False, min=1, max=LARGEST_SIDE, step=1)
    settings = PrepareSettings(dataset="pictures", resolution=max(size), bucket=bucket, max_aspect=10_000)
    captions, bad, enlarged, copied = source.captions(ENDINGS, ["sidecar"]), list(found.bad), list[str](), 0
    with replacing(out) as fresh:
        for name in found.pictures:
            edit = found.edits.get(name)
            try:
                with source.picture(name) as path:
                    decoded = decode(path, settings, box=edit.box if edit else None, geometry=Geometry(size, bucket))
            except Refused as refused:
                bad.append(refused.of(name))
                continue
            except OSError as error:
                bad.append(UnusableFile(name, "cannot be read", "mend it, or take it out", error.strerror or ""))
                continue
            target = fresh / PurePosixPath(name).with_suffix(f".{format}")
            _save(resize_and_crop(decoded.image, decoded.placement), target, format)
            enlarged += [name] if decoded.placement.scale > 1 else []
            if caption := captions.find(name):
                if problem := _copy_caption(pictures, caption, target.with_suffix(PurePosixPath(caption).suffix)):
                    bad.append(problem)
                copied += 1
        if bad:
            bad = [replace(one, fix=drop_settings(one.fix)) for one in sorted(bad, key=lambda one: one.source)]
            count = f"{len(bad)} of {format_count(len(found.pictures) + len(found.bad), 'file')} cannot be used"
            raise UserError(f"{count}:\n{explain_unusable(bad)}", where=pictures, fix="mend or remove these files")
    return Cropped(len(found.pictures), copied, tuple(enlarged))


def _copy_caption(pictures: Path, name: str, target: Path) -> UnusableFile | None:
    """Why a caption file cannot be copied; None where it was."""
    if found := find_obstacle(pictures / name, pictures.resolve()):
        return UnusableFile(name, found.reason, found.fix, found.detail)
    try:
        content = (pictures / name).read_bytes()
    except OSError as error:
        return UnusableFile(name, "cannot be read", "mend it, or take it out", error.strerror or "")
    write_bytes(target, content)
    return None


def _save(image: Image, target: Path, format: Format) -> None:
    if format == "png":
        save_png(image, target)
        return
    image.info = {}
    with explaining_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target, "JPEG" if format == "jpg" else "WEBP", quality=QUALITY)
