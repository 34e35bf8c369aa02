"""The folders of a dataset that its config makes subsets of, and the pictures and masks in these."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from lorakiln.sources import SourceContents, Subset


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


def select_subsets(found: SourceContents, subsets: Sequence[FolderSubset]) -> SourceContents:
    """What there is of the subsets, by a look at all of the dataset's folder; folders in a subset's are left aside.

    Args:
        subsets: no two of one folder; one that has no repeats is not used.
    """
    # A folder of masks may be called as it likes: what lies in it is told from pictures here.
    files = [*found.pictures, *(name for names in found.masks.values() for name in names), *found.lonely_masks]
    by_folder: dict[str, list[str]] = {}
    for name in sorted(files):
        by_folder.setdefault(_parent(name), []).append(name)
    known, folders = set(found.pictures), {one.folder for one in subsets}
    mask_folders = {one.masks for one in subsets if one.masks}
    pictures, masks = dict[str, Subset](), dict[str, tuple[str, ...]]()
    for one in subsets:
        of_stems = {PurePosixPath(name).stem: name for name in by_folder.get(one.masks or "", [])}
        for name in by_folder.get(one.folder, []) if one.subset.repeats else []:
            if name not in known:
                continue
            pictures[name] = one.subset
            if mask := of_stems.get(PurePosixPath(name).stem):
                masks[name] = (mask,)
            elif name in found.masks:
                masks[name] = found.masks[name]
    used = {mask for names in masks.values() for mask in names}
    rest = [name for name in found.pictures if name not in pictures]
    return replace(
        found,
        pictures=sorted(pictures),
        bad=[one for one in found.bad if _parent(one.source) in folders | mask_folders],
        subsets=pictures,
        aside=Counter(_parent(name) for name in rest if _parent(name) not in mask_folders),
        masks=masks,
        lonely_masks=[name for one in sorted(mask_folders) for name in by_folder.get(one, []) if name not in used],
        edits={name: edit for name, edit in found.edits.items() if name in pictures},
        excluded=[name for name in found.excluded if _parent(name) in folders],
    )


def _parent(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()
