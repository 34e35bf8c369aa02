"""Pictures made small for the page, drawn when they are asked for, and kept outside of the dataset."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Resampling

from lorakiln.artefacts.atomic_file import replacing_file
from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.hashing import hash_data
from lorakiln.console.errors import UserError
from lorakiln.prepare.decode import decode
from lorakiln.schema.prepare import PrepareSettings

SMALL = 192  # pixels of the longer side, of a thumbnail
LARGE = 1280  # of the picture that a crop is drawn in
QUALITY = 85  # of JPEG


@dataclass(frozen=True)
class Thumbnails:
    """Draws pictures as `prepare` would take them: upright, in sRGB, over the background.

    Attributes:
        raw: the dataset's folder.
        kept: where they are kept: by name, time and size of the file.
        settings: with the background and the limits.
    """

    raw: Path
    kept: Path
    settings: PrepareSettings

    def draw(self, name: str, longest: int) -> bytes:
        """A picture as JPEG, its longer side `longest` pixels at most.

        Raises:
            Refused: it cannot be used.
            OSError: it is not there any more.
            UserError: the disk is full.
        """
        path = self.raw / name
        told = path.stat()
        file = self.kept / f"{hash_data(name, told.st_size, told.st_mtime_ns, longest, self.settings.background)}.jpg"
        try:
            return file.read_bytes()
        except FileNotFoundError:
            drawn = self._draw(path, longest)
        with explaining_disk_errors(file), replacing_file(file) as beside:
            beside.write_bytes(drawn)
            os.replace(beside, file)
        return drawn

    def _draw(self, path: Path, longest: int) -> bytes:
        # What is refused for its shape can still be shown, cropped and so be mended.
        bucket = self.settings.bucket.model_copy(update={"no_upscale": False})
        looser = {"max_aspect": 10_000.0, "min_side": 1, "animated": "first_frame", "bucket": bucket}
        lenient = self.settings.model_copy(update=looser)
        image = decode(path, lenient, (longest, longest)).image
        image.thumbnail((longest, longest), Resampling.LANCZOS)
        written = io.BytesIO()
        image.save(written, "JPEG", quality=QUALITY)
        return written.getvalue()


def check_cache(kept: Path, raw: Path) -> None:
    """Raise UserError if the small pictures would lie in the dataset, where they would be trained on."""
    if kept.resolve().is_relative_to(raw.resolve()):
        raise UserError("the small pictures cannot lie in the dataset's own folder", where=kept, fix="name another one")
