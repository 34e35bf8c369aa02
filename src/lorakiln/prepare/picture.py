"""One source file to one finished PNG and its row of metadata.jsonl."""

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from PIL import Image
from PIL.Image import Resampling

from lorakiln.artefacts.code_digest import compute_code_key
from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.artefacts.partial_results import PartialResults, link_or_copy
from lorakiln.console.errors import UserError
from lorakiln.prepare.blur import measure_blur
from lorakiln.prepare.border import measure_border
from lorakiln.prepare.buckets import Geometry, Placement
from lorakiln.prepare.decode import Box, Decoded, decode
from lorakiln.prepare.masks import ALPHA, NETWORK, MaskFile, choose_mask, name_masks, read_mask, write_mask
from lorakiln.prepare.near_duplicates import compute_perceptual_hash
from lorakiln.prepare.networks import Networks
from lorakiln.prepare.shading import measure_shading
from lorakiln.prepare.uncropped import (
    choose_uncropped_size,
    find_enough_pixels,
    name_uncropped,
    place_face,
)
from lorakiln.prepare.unusable_files import Refused
from lorakiln.rows import PictureMask, PreparedRow, Uncropped, read_prepared
from lorakiln.schema.marks import Decides, select_decided
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.sources import PictureSource, UnusableFile

# Beyond this factor Pillow averages whole pixels before Lanczos; at 3 the result cannot be told from plain Lanczos.
REDUCING_GAP = 3.0
COMPRESS_LEVEL = 1  # of PNG: 9 takes 17 times as long to save another 15 %
UPSCALED = "upscaled"  # how such a note begins
NO_NETWORKS = Networks().identities
# Formats by ending, where the two are usually the same.
EXPECTED = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".apng": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}


@dataclass(frozen=True)
class EarlierPicture:
    """A picture that was made before: its row of metadata.jsonl, and its files in the order of the row's."""

    row: PreparedRow
    files: tuple[Path, ...]

    def is_whole(self) -> bool:
        """Somebody may have painted in the old output, and a power cut have cut off what was kept."""
        sums = zip(self.files, self.row.sums.values(), strict=True)
        return all(file.is_file() and hash_file(file) == sha256 for file, sha256 in sums)


@dataclass(frozen=True)
class Preparer:
    """Makes pictures, in whatever process it is sent to.

    Attributes:
        pictures: the dataset as it was given.
        fresh: where PNGs are written.
        known: what earlier runs have made, by key.
        kept: takes each picture as it is made, so that a run that is stopped need not make it again.
        networks: of the user's.
        masks: their files, of the pictures that have some; see `sources.SourceContents`.
        boxes: of the pictures that are cropped by hand.
        geometries: of the pictures that have another than the settings'.
        once_more: see `sources.SourceContents`.
        own: settings of the pictures that have others than `settings`.
    """

    pictures: PictureSource
    fresh: Path
    settings: PrepareSettings
    known: Mapping[str, EarlierPicture]
    kept: PartialResults
    networks: Networks = Networks()
    masks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    boxes: Mapping[str, Box] = field(default_factory=dict)
    geometries: Mapping[str, Geometry] = field(default_factory=dict)
    once_more: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, PrepareSettings] = field(default_factory=dict)

    def __call__(self, called: str) -> PreparedRow | UnusableFile:
        """Write the PNG of a picture, copied from the earlier run if that made the same; give its row, or the reason.

        Args:
            called: its name in the source.
        """
        if called in self.own:
            return replace(self, settings=self.own[called], own={})(called)
        source = self.once_more.get(called, called)
        with ExitStack() as opened:
            try:
                path = opened.enter_context(self.pictures.picture(source))
                sha256 = hash_file(path)
                mask = self._open_mask(called, opened)
            except Refused as refused:
                return refused.of(source)
            except FileNotFoundError:
                return UnusableFile(source, "removed while this ran", "run the same command again")
            except OSError as error:
                fix = "change its permissions" if isinstance(error, PermissionError) else "mend it, or take it out"
                return UnusableFile(source, "cannot be read", fix, error.strerror or "")
            return self._prepare(path, sha256, called, mask)

    def _open_mask(self, called: str, opened: ExitStack) -> MaskFile | None:
        name = choose_mask(called, self.masks, self.settings)
        if name is None:
            return None
        path = opened.enter_context(self.pictures.picture(name))
        return MaskFile(name, path, hash_file(path))

    def _prepare(self, path: Path, sha256: str, called: str, mask: MaskFile | None) -> PreparedRow | UnusableFile:
        box, geometry, by = self.boxes.get(called), self.geometries.get(called), mask.sha256 if mask else None
        key = compute_content_key(sha256, path.suffix, self.settings, self.networks.identities, by, box, geometry)
        name, source = name_picture(called), self.once_more.get(called, called)
        target = self.fresh / name
        try:
            if row := self._reuse(key, name, mask):
                return row.changed(source=source)
            decoded = decode(path, self.settings, box=box, geometry=geometry)
            larger = self._upscale(decoded)
            picture = resize_and_crop(larger.image, larger.placement)
            save_png(picture, target)
            uncropped = self._save_uncropped(larger, path, name, geometry)
            masked = self._save_mask(mask, decoded, uncropped, name, box)
        except Refused as refused:
            return refused.of(source)
        placement = larger.placement
        row = PreparedRow(
            file_name=name,
            width=placement.bucket[0],
            height=placement.bucket[1],
            bucket="{}x{}".format(*placement.bucket),
            source=source,
            sha256=sha256,
            source_width=decoded.size[0],
            source_height=decoded.size[1],
            resized=placement.resized,
            crop=placement.crop,
            scale=round(placement.scale, 6),
            notes=_list_notes(larger, source),
            key=key,
            png_sha256=hash_file(target),
            look=compute_perceptual_hash(picture),
            shading=round(measure_shading(decoded.image), 4),
            blur=round(measure_blur(picture), 4),
            border=round(measure_border(picture), 4),
            **({"uncropped": uncropped} if uncropped else {}),
            **({"mask": masked} if masked else {}),
            **({"hand_crop": box} if box else {}),
        )
        self._keep(key, row)
        return row

    def _upscale(self, decoded: Decoded) -> Decoded:
        """What the settings' upscaler makes of a picture, where that is so small; else the picture itself."""
        upscaler, scale = self.networks.upscaler, decoded.placement.scale
        if upscaler is None or scale <= self.settings.upscale.above:
            return decoded
        image = upscaler.enlarge(decoded.image)
        placement = replace(decoded.placement, scale=scale / upscaler.factor)
        notes = [*decoded.notes, f"{UPSCALED} {upscaler.factor} times by a network"]
        return replace(decoded, image=image, size=image.size, placement=placement, notes=notes)

    def _save_uncropped(self, decoded: Decoded, path: Path, name: str, geometry: Geometry | None) -> Uncropped | None:
        """Write the picture before its crop, where the settings want it."""
        if self.settings.margin is None:
            return None
        detector, reach = self.networks.detector, self.settings.face
        face = detector.find(decoded.image) if detector else None
        size = choose_uncropped_size(decoded.size, decoded.placement, self.settings.margin, face, reach.closest)
        image = find_enough_pixels(decoded, size, lambda least: decode(path, self.settings, least, geometry=geometry))
        beside = name_uncropped(name)
        save_png(image.resize(size, Resampling.LANCZOS, reducing_gap=REDUCING_GAP), self.fresh / beside)
        row = Uncropped(file_name=beside, width=size[0], height=size[1], png_sha256=hash_file(self.fresh / beside))
        if not face:
            return row
        return row.changed(face=place_face(face, size), closest=reach.closest, widest=reach.widest)

    def _save_mask(
        self, file: MaskFile | None, decoded: Decoded, uncropped: Uncropped | None, name: str, box: Box | None
    ) -> PictureMask | None:
        """Write what of the picture is to be learned, as the picture is cropped and, where that is kept, before."""
        size = (uncropped.width, uncropped.height) if uncropped else None
        least = max(decoded.placement.resized, size or (0, 0))
        mask = read_mask(file, decoded, least, self.settings, box, self.networks.segmenter)
        if mask is None:
            return None
        source = file.name if file else ALPHA if mask is decoded.alpha else NETWORK
        return write_mask(mask, decoded.placement, size, self.fresh, name, source, save_png)

    def _keep(self, key: str, row: PreparedRow) -> None:
        # No waiting for the disk, as for what is to outlast a power cut: the sums in the row tell what did.
        for file, kept in zip(row.files, _list_kept(self.kept.folder, key, row), strict=True):
            link_or_copy(self.fresh / file, kept)
        self.kept.add(key, lambda path: path.write_text(json.dumps(row.to_dict()), encoding="utf-8"))

    def _reuse(self, key: str, name: str, mask: MaskFile | None) -> PreparedRow | None:
        """Copy what was made earlier under this key, and give its row, by its new name."""
        known = self.known.get(key)
        if known is None or not known.is_whole():
            return None
        row = _rename(known.row, name, mask)
        for file, new in zip(known.files, row.files, strict=True):
            target = self.fresh / new
            with explaining_disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        return row


def _list_notes(decoded: Decoded, source: str) -> list[str]:
    """What was special about a picture, and what is odd about its name."""
    notes, ending = list(decoded.notes), PurePosixPath(source).suffix.lower()
    # An MPO is a JPEG with more behind it.
    if EXPECTED.get(ending, decoded.format) not in (decoded.format, decoded.format.replace("MPO", "JPEG")):
        notes.append(f"named {ending}, is {decoded.format}")
    return notes


def name_picture(called: str) -> str:
    """The prepared file of a picture of the source."""
    return PurePosixPath(called).with_suffix(".png").as_posix()


def compute_content_key(
    sha256: str,
    suffix: str,
    settings: PrepareSettings,
    networks: Mapping[str, str | None] = NO_NETWORKS,
    mask: str | None = None,
    box: Box | None = None,
    geometry: Geometry | None = None,
) -> str:
    """Equal keys, equal picture and row but for the names: the file's content and ending, the settings, the code.

    Args:
        networks: the identities of those that the settings name, by setting.
        mask: the sha256 of the picture's mask, if that is a file of its own.
        box: of its crop by hand.
        geometry: of its bucket, if that is another than the settings'.
    """
    kept = select_decided(settings, Decides.PIXELS | Decides.NOTES, networks)
    own = [one for one in (mask, box, geometry and geometry.identity) if one]
    return hash_data(compute_code_key(Preparer), sha256, suffix.lower(), kept, *own)


def _rename(row: PreparedRow, name: str, mask: MaskFile | None) -> PreparedRow:
    """The row of the same picture by another name, with its mask's file as it is called now."""
    row = row.changed(file_name=name)
    if row.uncropped:
        row = row.changed(uncropped=row.uncropped.changed(file_name=name_uncropped(name)))
    if row.mask:
        file_name, beside = name_masks(name)
        masked = row.mask.changed(file_name=file_name, source=mask.name if mask else row.mask.source)
        row = row.changed(mask=masked.changed(uncropped=beside) if masked.uncropped else masked)
    return row


def _list_kept(folder: Path, key: str, row: PreparedRow) -> list[Path]:
    """Where a stopped run keeps a row's files."""
    return [folder / f"{key}.{number}.png" for number in range(len(row.files))]


def resize_and_crop(image: Image.Image, placement: Placement) -> Image.Image:
    """Resize with Lanczos and crop; RGB in, RGB of the bucket's size out."""
    resized = image.resize(placement.resized, Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    return resized.crop(placement.crop)


def save_png(image: Image.Image, target: Path) -> None:
    """Write a PNG whose bytes depend on the pixels alone.

    Raises:
        UserError: the disk is full or not writable.
    """
    image.info = {}  # Pillow would write the source's colour profile
    with explaining_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target, "PNG", compress_level=COMPRESS_LEVEL)


def read_earlier_pictures(folder: Path) -> dict[str, EarlierPicture]:
    """The pictures of a prepared folder by key; none if it is absent or damaged."""
    try:
        rows = read_prepared(folder)
        return {row.key: EarlierPicture(row, tuple(folder / file for file in row.files)) for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        print(f"prepare: {folder} is damaged and made again ({error})", flush=True)
        return {}


def read_partial_pictures(kept: PartialResults) -> dict[str, EarlierPicture]:
    """The pictures that a run had made when it was stopped; what a power cut has damaged is left out."""
    found = {}
    for key, path in kept.files().items():
        try:
            row = PreparedRow.read(path)
        except UserError:
            continue
        found[key] = EarlierPicture(row, tuple(_list_kept(path.parent, key, row)))
    return found
