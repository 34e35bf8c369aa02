"""Finding the pictures of a dataset's folder, without opening them."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.sources import SourceContents, UnusableFile
from lorakiln.sources.folder.edits import is_edit, read_edits
from lorakiln.sources.folder.masks import split_masks
from lorakiln.sources.folder.regularisation import RECORD, mark_drawn

# Endings of files that are meant as pictures. Whether one is readable, its content decides.
READABLE = {
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".apng",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".avif",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
    ".j2k",
    ".heic",
    ".heif",
}
# Where in a file its kind is told, and how, of the usual ones.
SIGNS = {
    ".jpg": (0, b"\xff\xd8\xff"),
    ".png": (0, b"\x89PNG\r\n\x1a\n"),
    ".gif": (0, b"GIF8"),
    ".webp": (8, b"WEBP"),
}
# What drawings and cameras' own files are, and what to do; opened as TIFF, a raw file would give its thumbnail.
_EXPORT = "export it as PNG, or remove it"
_CONVERT = "convert it to PNG, JPEG or WebP, or remove it"
UNREAD = (
    ".tga",
    ".qoi",
    ".dds",
    ".pcx",
    ".jpf",
    ".jpx",
    ".jpm",
    ".j2c",
    ".dib",
    ".sgi",
    ".xbm",
    ".xpm",
    ".pict",
    ".bpg",
    ".flif",
    ".jxr",
    ".ktx",
    ".pfm",
)
_DEVELOP = ("a camera's raw file", "develop it and export it as JPEG, PNG or TIFF, or remove it")
FOREIGN = {
    ".svg": ("an SVG drawing", _EXPORT),
    **dict.fromkeys((".cdr", ".emf", ".wmf"), ("a vector drawing", _EXPORT)),
    **dict.fromkeys((".xcf", ".kra", ".ora"), ("a painting program's document", _EXPORT)),
    **dict.fromkeys((".ico", ".icns", ".cur"), ("an icon of several sizes", _EXPORT)),
    **dict.fromkeys((".exr", ".hdr"), ("a picture of floating-point numbers", _EXPORT)),
    ".mpo": ("pictures from several sides (MPO)", "export one as JPEG, or name it .jpg, and the first is taken"),
    **{ending: (f"a picture of a kind that is not read here ({ending})", _CONVERT) for ending in UNREAD},
    ".pdf": ("a PDF document", _EXPORT),
    ".eps": ("a PostScript document", _EXPORT),
    ".ps": ("a PostScript document", _EXPORT),
    ".psd": ("a Photoshop document", _EXPORT),
    ".jxl": ("a JPEG XL picture, which is not supported", _EXPORT),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw"), _DEVELOP),
}
PULL = "run `dvc pull`"
PICTURES = READABLE | FOREIGN.keys()


def scan(raw: Path, follow_symlinks: bool = False) -> SourceContents:
    """Find pictures in `raw` and all folders below it; hidden files and folders are left out.

    Args:
        follow_symlinks: accept links that lead out of `raw`.
    """
    return _Scanner(raw, follow_symlinks).run()


class _Scanner:
    def __init__(self, raw: Path, follow: bool) -> None:
        self.raw, self.root, self.follow, self.found = raw, raw.resolve(), follow, SourceContents()
        self.edits: list[str] = []  # files that are meant as such
        self.records: list[str] = []  # of how pictures were drawn
        self.seen = {self.root}  # targets of the folders entered by links: links may lead in a circle

    def run(self) -> SourceContents:
        def unreadable(error: OSError) -> None:
            self._refuse(Path(error.filename), "a folder that cannot be read", "change its permissions")

        for parent, folders, files in os.walk(self.raw, followlinks=True, onerror=unreadable):
            folders[:] = [name for name in sorted(folders) if self._enters(Path(parent, name))]
            for name in files:
                if not name.startswith("."):
                    self._file(Path(parent, name))
        self.found.pictures.sort()
        self.found.pictures, self.found.masks, self.found.lonely_masks = split_masks(self.found.pictures)
        finish_contents(self.found, self.raw, self.edits, self.follow)
        mark_drawn(self.found, self.raw, sorted(self.records))
        return self.found

    def _enters(self, folder: Path) -> bool:
        if folder.name.startswith("."):
            return False
        if folder.suffix.lower() in PICTURES:
            self._refuse(folder, "a folder with a picture's name", "rename or remove it")
            return False
        if not folder.is_symlink():
            return True
        target = folder.resolve()
        if target.is_relative_to(self.root) or target in self.seen:
            return False  # its pictures are found in their own place
        if not self.follow:
            self._refuse_link(folder)
            return False
        self.seen.add(target)
        return True

    def _file(self, path: Path) -> None:
        ending = path.suffix.lower()
        if ending == ".dvc":  # of a picture, of its caption, or of a whole folder
            if not path.with_suffix("").exists():
                self._refuse(path.with_suffix(""), "only its DVC pointer is here, not what it stands for", PULL)
        elif (
            path.name == RECORD
            and is_utf8(name := self._name(path))
            and not find_obstacle(path, self.root, self.follow)
        ):
            self.records.append(name)
        elif is_edit(path.name) and is_utf8(name := self._name(path)):
            self.edits.append(name)
        elif ending not in PICTURES:
            self.found.others[ending] += 1
            if (meant := self._find_ending(path, ending)) and is_utf8(name := self._name(path)):
                self.found.misnamed[name] = meant
        elif found := find_obstacle(path, self.root, self.follow):
            self._refuse(path, found.reason, found.fix, found.detail)
        elif ending in FOREIGN:
            self._refuse(path, *FOREIGN[ending])
        elif not is_utf8(name := self._name(path)):
            self._refuse(path, "its name is not UTF-8", "rename it")
        else:
            self.found.pictures.append(name)

    def _find_ending(self, path: Path, ending: str) -> str:
        """The ending that a picture lacks: it has none, or one as browsers save it, .jpg_large, .webp?w=300; or ""."""
        if ending and not ending.startswith(tuple(READABLE)):
            return ""
        if find_obstacle(path, self.root, self.follow):
            return ""
        try:
            with path.open("rb") as file:
                start = file.read(12)
        except OSError:  # which is no reason to refuse what is not taken for a picture
            return ""
        return next((one for one, (at, sign) in SIGNS.items() if start[at:].startswith(sign)), "")

    def _refuse_link(self, path: Path) -> None:
        fix = "copy the files here, or set prepare.follow_symlinks=true"
        self._refuse(path, "a link that leads out of the dataset's folder", fix)

    def _refuse(self, path: Path, reason: str, fix: str, detail: str = "") -> None:
        # A name that is not UTF-8 is shown with its bytes escaped, for it could not be written down.
        name = os.fsencode(self._name(path)).decode("utf-8", "backslashreplace")
        self.found.bad.append(UnusableFile(name, reason, fix, detail))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.raw).as_posix()


def finish_contents(found: SourceContents, raw: Path, edits: Sequence[str], follow_symlinks: bool) -> None:
    """Take the hand edits, and refuse pictures whose edit cannot be used or that would share one output.

    Args:
        raw: the dataset's folder, in which the edits are.
        edits: the files that are meant as such, below it.
    """
    by_name, misread, found.lonely_edits = read_edits(raw, edits, found.pictures, follow_symlinks)
    found.excluded = sorted(name for name, edit in by_name.items() if edit.excluded)
    left_out = set(found.excluded)
    found.edits = {name: edit for name, edit in by_name.items() if name not in left_out}
    found.masks = {name: files for name, files in found.masks.items() if name not in left_out}
    found.pictures = [name for name in found.pictures if name not in left_out]
    twins = find_name_collisions(found.pictures)
    surplus = {entry.source for entry in [*misread, *twins]}
    found.pictures = [name for name in found.pictures if name not in surplus]
    found.bad = sorted([*found.bad, *misread, *twins], key=lambda entry: entry.source)


def find_name_collisions(names: list[str]) -> list[UnusableFile]:
    """Names that are equal but for the ending, the case, or the Unicode form.

    They would share one output and one caption file here, or collide on Windows and macOS.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        stem = PurePosixPath(name).with_suffix("").as_posix()
        groups.setdefault(unicodedata.normalize("NFC", stem).casefold(), []).append(name)
    return [
        UnusableFile(
            name,
            "the same name but for ending, case or accents' encoding",
            "rename all but one",
            "beside " + ", ".join(other for other in group if other != name),
        )
        for group in groups.values()
        if len(group) > 1
        for name in group
    ]


def is_picture(name: str) -> bool:
    """Whether a name is that of a picture, as far as its ending tells."""
    path = PurePosixPath(name)
    return not path.name.startswith(".") and path.suffix.lower() in PICTURES


def holds_pictures(folder: Path) -> bool:
    """Whether there are pictures in a folder or below it."""
    return any(is_picture(name) for _, _, names in os.walk(folder) for name in names)


def is_utf8(name: str) -> bool:
    """Whether a name that the system gave, what it could not read escaped, can be written down."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
