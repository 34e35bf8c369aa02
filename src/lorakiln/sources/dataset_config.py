"""Our own config of a dataset, dataset.yaml in its folder: sizes of datasets, and repeats and rules of their subsets.

    captions: {shuffle: true}         what stands above holds below, unless it says otherwise
    datasets:
      - resolution: [768, 512]
        bucket: {no_upscale: true}
        subsets:
          - folder: dogs
            repeats: 10
            prefix: photo of

What nothing here says is the experiment's. Folders in a subset's are not looked into.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import Settings, check
from lorakiln.schema.dataset_config import DatasetConfig, SubsetConfig, SubsetDefaults
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.schema.subset_rules import PictureRules, SubsetRules
from lorakiln.sources import Subset
from lorakiln.sources.folder import Folder
from lorakiln.sources.folder.subsets import FolderSubset, SplitFolder

NAME = "dataset.yaml"
Rules = TypeVar("Rules", bound=Settings)


def recognise(raw: Path) -> bool:
    """Whether the config lies in `raw`."""
    return os.path.isfile(raw / NAME)  # of a folder that cannot be read it says no, and the next source tells


def open_source(raw: Path, follow_symlinks: bool) -> "ConfiguredFolder":
    return ConfiguredFolder(Folder(raw, follow_symlinks))


@dataclass(frozen=True)
class ConfiguredFolder(SplitFolder):
    """A dataset's folder with our own config."""

    told_by = f"as {NAME} says"

    @cached_property
    def subsets(self) -> list[FolderSubset]:
        path, found = self.folder.raw / NAME, list[FolderSubset]()
        try:
            config = check(DatasetConfig, read_yaml(path))
        except ConfigError as error:
            raise UserError("; ".join(error.problems), where=path, fix="mend it (docs/datasets.md)") from error
        for number, part in enumerate(config.datasets):
            folders = set[str]()
            for place, one in enumerate(part.subsets):
                where = f"{path}: datasets.{number}.subsets.{place}"
                folder = self._locate(f"{where}.folder", one.folder)
                if folder in folders:
                    fix = "remove one of both; to train it in two sizes, name it in two datasets"
                    raise UserError(f"{one.folder} is in an earlier subset of this dataset", where=where, fix=fix)
                folders.add(folder)
                masks = self._locate(f"{where}.masks", one.masks) if one.masks else None
                given = _merge(SubsetDefaults, config, part, one)
                subset = _make_subset(given, one, _merge(PictureRules, config, part, one), where)
                found.append(FolderSubset(folder, subset, masks, given.extension))
        return found

    def _locate(self, where: str, given: str) -> str:
        folder = PurePosixPath(given)
        if folder.is_absolute() or ".." in folder.parts or not (self.folder.raw / folder).is_dir():
            fix = f"name a folder in {self.folder.raw}, by its path there"
            raise UserError(f"no folder {given!r} in the dataset", where=where, fix=fix)
        return folder.as_posix()


def _make_subset(given: SubsetDefaults, config: SubsetConfig, pictures: PictureRules, where: str) -> Subset:
    tokens = " ".join((given.class_tokens or "").split())
    return Subset(
        1 if given.repeats is None else given.repeats,
        config.is_reg,
        tokens,
        SubsetRules.model_validate(_select(SubsetRules, given)),
        pictures,
        where,
    )


def _merge(kind: type[Rules], *levels: Settings) -> Rules:
    """What some levels say, the innermost last; of sections each key by itself."""
    merged: dict[str, Any] = {}
    for level in levels:
        for name, value in _select(kind, level).items():
            above = merged.get(name)
            merged[name] = {**above, **value} if isinstance(above, Mapping) else value
    return kind.model_validate(merged)


def _select(kind: type[Settings], given: Settings) -> dict[str, Any]:
    """What of a kind's settings somebody has written."""
    return {name: getattr(given, name) for name in kind.model_fields if name in given.model_fields_set}
