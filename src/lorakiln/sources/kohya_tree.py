"""kohya's folders: N_identifier class with the pictures of one subset each, beside them regularisation pictures.

    img/10_sks dog/*.png     each shown 10 times an epoch; "sks dog" is the caption of those that have none
    reg/1_dog/*.png          of what the base shall go on to know (prior preservation)
    model/, log/, ...        not taken, and told

The subsets of pictures may lie in the dataset's folder itself. As in sd-scripts, folders inside a subset are not looked
into. Source: sd-scripts, library/config_util.py, generate_dreambooth_subsets_config_by_subdirs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lorakiln.sources import Subset, dataset_config, kohya_config
from lorakiln.sources.folder import Folder
from lorakiln.sources.folder.scan import PICTURES
from lorakiln.sources.folder.subsets import FolderSubset, SplitFolder

IMAGES, REGULARISATION = "img", "reg"
_SUBSET = re.compile(r"(\d{1,3})_(.*)")  # a folder of a year, 2024_summer, is none


def recognise(raw: Path) -> bool:
    """Whether there are subsets with pictures, in `raw` or in its img, and no pictures or config beside them."""
    if kohya_config.recognise(raw) or dataset_config.recognise(raw):
        return False
    root = _find_images(raw)
    return root is not None and not any(_is_picture(path) for path in _list(root))


def open_source(raw: Path, follow_symlinks: bool) -> "KohyaTree":
    return KohyaTree(Folder(raw, follow_symlinks))


@dataclass(frozen=True)
class KohyaTree(SplitFolder):
    """A dataset's folder whose folders' names tell the subsets."""

    told_by = "by its folders' names"

    @property
    def subsets(self) -> list[FolderSubset]:
        raw = self.folder.raw
        return [
            FolderSubset(path.relative_to(raw).as_posix(), replace(subset, is_reg=is_reg))
            for root, is_reg in ((_find_images(raw), False), (raw / REGULARISATION, True))
            for path, subset in (_list_subsets(root) if root else ())
        ]


def _find_images(raw: Path) -> Path | None:
    return next((root for root in (raw / IMAGES, raw) if any(True for _ in _list_subsets(root))), None)


def _list_subsets(root: Path) -> Iterator[tuple[Path, Subset]]:
    for path in _list(root):
        match = _SUBSET.fullmatch(path.name)
        # As in sd-scripts, 0 repeats are a subset that is not used.
        if match and int(match[1]) and path.is_dir() and any(_is_picture(file) for file in _list(path)):
            yield path, Subset(int(match[1]), class_tokens=" ".join(match[2].split()))


def _list(folder: Path) -> list[Path]:
    """What a folder holds, sorted; nothing where it may not be read, which the scan tells."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and not path.name.startswith(".")
