"""Datasets' folders of which a config, or the folders' own names, make subsets: the pictures and masks in these."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lorakiln.sources import ALIKE, SourceContents, Subset
from lorakiln.sources.folder import Folder
from lorakiln.sources.folder.captions import FolderCaptions


@dataclass(frozen=True)
class FolderSubset:
    """A folder's pictures; folders are paths in the dataset, "." its own.

    Attributes:
        masks: the folder of their masks, if a config names one.
        extension: of their caption files, which then goes before those that the settings name.
    """

    folder: str
    subset: Subset
    masks: str | None = None
    extension: str | None = None


@dataclass(frozen=True)
class SplitFolder(ABC):
    """See `sources.PictureSource`; what tells the subsets is a class of its own."""

    folder: Folder

    @property
    @abstractmethod
    def subsets(self) -> Sequence[FolderSubset]:
        """Those that there are; of a folder that is in several the pictures are there as often, see `select_subsets`.

        Raises:
            UserError: what tells them is wrong.
        """

    @property
    @abstractmethod
    def told_by(self) -> str:
        """What tells them, for messages: "as set.toml says"."""

    @property
    def remarks(self) -> list[str]:
        """See `sources.SourceContents`."""
        return []

    def scan(self) -> SourceContents:
        """Raises UserError where what tells the subsets is wrong."""
        found = select_subsets(self.folder.scan(), self.subsets)
        return replace(found, read_by=f"{self.told_by}{ALIKE}", remarks=self.remarks)

    def picture(self, name: str) -> AbstractContextManager[Path]:
        return self.folder.picture(name)

    def captions(self, endings: Sequence[str], precedence: Sequence[str]) -> FolderCaptions:
        own = [one.extension for one in self.subsets if one.extension]
        return self.folder.captions(list(dict.fromkeys([*own, *endings])), precedence)


def select_subsets(found: SourceContents, subsets: Sequence[FolderSubset]) -> SourceContents:
    """What there is of the subsets, by a look at all of the dataset's folder; folders in a subset's are left aside.

    Args:
        subsets: one that has no repeats is not used. Of a folder that is in several each picture is one of each: in the
            first by its own name, in the second, of the folder `dogs`, as in a folder `dogs@2`, and so on.
    """
    # A folder of masks may be called as it likes: what lies in it is told from pictures here.
    files = [*found.pictures, *(name for names in found.masks.values() for name in names), *found.lonely_masks]
    by_folder: dict[str, list[str]] = {}
    for name in sorted(files):
        by_folder.setdefault(_parent(name), []).append(name)
    known, folders = set(found.pictures), {one.folder for one in subsets}
    mask_folders = {one.masks for one in subsets if one.masks}
    pictures, masks, once_more = dict[str, Subset](), dict[str, tuple[str, ...]](), dict[str, str]()
    for one, called in _name_folders([one for one in subsets if one.subset.repeats], by_folder):
        of_stems = {PurePosixPath(name).stem: name for name in by_folder.get(one.masks or "", [])}
        for file in by_folder.get(one.folder, []):
            if file not in known:
                continue
            name = file if called == one.folder else (PurePosixPath(called) / PurePosixPath(file).name).as_posix()
            pictures[name] = one.subset
            if name != file:
                once_more[name] = file
            if mask := of_stems.get(PurePosixPath(file).stem):
                masks[name] = (mask,)
            elif file in found.masks:
                masks[name] = found.masks[file]
    used = {mask for names in masks.values() for mask in names}
    rest = [name for name in found.pictures if name not in pictures]
    meant = [name for one in sorted(mask_folders) for name in by_folder.get(one, [])]
    edits = {name: found.edits[file] for name in pictures if (file := once_more.get(name, name)) in found.edits}
    return replace(
        found,
        pictures=sorted(pictures),
        once_more=once_more,
        bad=[one for one in found.bad if _parent(one.source) in folders | mask_folders],
        subsets=pictures,
        aside=Counter(_parent(name) for name in rest if _parent(name) not in mask_folders),
        masks=masks,
        lonely_masks=[name for name in dict.fromkeys([*meant, *found.lonely_masks]) if name not in used],
        edits=edits,
        excluded=[name for name in found.excluded if _parent(name) in folders],
    )


def _name_folders(subsets: Sequence[FolderSubset], taken: Collection[str]) -> list[tuple[FolderSubset, str]]:
    """Each subset with the folder that its pictures are called after; none that is there already."""
    named = dict[str, FolderSubset]()
    for one in subsets:
        name, number = one.folder, 1
        while name in named or (number > 1 and name in taken):
            number += 1
            name = f"{'' if one.folder == '.' else one.folder}@{number}"
        named[name] = one
    return [(one, name) for name, one in named.items()]


def _parent(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()
