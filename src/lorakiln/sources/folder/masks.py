"""Which of a source's files are masks: white where another picture is to be learned, black where it is not.

    a-masklabel.png         of a.jpg beside it (OneTrainer)
    masks/a.png             of a.jpg beside the folder `masks`; that of the dataset's own folder may have the dataset's
                            folders again: masks/portraits/a.png of portraits/a.jpg (sd-scripts: conditioning_data_dir)

A folder `masks` in which no file is called as a picture beside it is a folder of pictures like others.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

LABEL = "-masklabel.png"
FOLDER = "masks"


class SplitNames(NamedTuple):
    """Names of pictures and of masks, sorted as they were given.

    Attributes:
        pictures: those that are no masks.
        masks: of the pictures that have some, usually one each.
        lonely: masks of no picture.
    """

    pictures: list[str]
    masks: dict[str, tuple[str, ...]]
    lonely: list[str]


def split_masks(names: Sequence[str]) -> SplitNames:
    """Tell masks from pictures by their names alone, paths with slashes."""
    meant = {name: _find_meant(PurePosixPath(name)) for name in names}
    stems = {_stem(name): name for name in names if meant[name] is None}
    # Of each folder `masks`, whether any file in it is one.
    holding = {_find_folder(name) for name, stem in meant.items() if stem in stems}
    pictures, found, lonely = [], dict[str, tuple[str, ...]](), []
    for name, stem in meant.items():
        if stem is None or not (name.endswith(LABEL) or _find_folder(name) in holding):
            pictures.append(name)
        elif stem in stems:
            found[stems[stem]] = (*found.get(stems[stem], ()), name)
        else:
            lonely.append(name)
    return SplitNames(pictures, found, lonely)


def _find_meant(path: PurePosixPath) -> str | None:
    """The name, without its ending, of the picture whose mask this would be; None for what can be no mask."""
    if path.name.endswith(LABEL):
        return path.as_posix().removesuffix(LABEL)
    folders = path.parent.parts
    if FOLDER not in folders:
        return None
    at = folders.index(FOLDER)
    return PurePosixPath(*folders[:at], *folders[at + 1 :], path.stem).as_posix()


def _find_folder(name: str) -> str:
    """The folder `masks` that a file is in; "" for one that is in none."""
    folders = PurePosixPath(name).parent.parts
    return "/".join(folders[: folders.index(FOLDER) + 1]) if FOLDER in folders else ""


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
