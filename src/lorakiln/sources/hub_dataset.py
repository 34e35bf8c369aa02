"""A dataset of the Hub, named in hub.yaml with its commit, and read where `hf download` keeps it. Nothing is fetched.

    dataset: owner/name
    revision: 0123456789abcdef0123456789abcdef01234567    # a commit: a branch would be another dataset one day
    folder: photos                                        # in it, if not all of it is meant

What lies there tells how it is read, as for a dataset's own folder. Caption files and hand edits beside hub.yaml, by
the pictures' names, win over what is in it. Source of the cache's form: huggingface_hub, "Understand caching".
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import Settings, check
from lorakiln.schema.marks import Private
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.sources import CaptionProblem, Captions, PictureSource, SourceContents
from lorakiln.sources import open_source as open_any
from lorakiln.sources.folder.edits import ENDING, list_edits
from lorakiln.sources.folder.layers import LayeredCaptions
from lorakiln.sources.folder.scan import finish_contents

NAME = "hub.yaml"


class HubConfig(Settings):
    """Which dataset is meant.

    Attributes:
        dataset: "owner/name".
        revision: a commit, 40 hex digits.
        folder: a path in it.
    """

    dataset: Annotated[str, Private.NAME] = Field(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200)
    revision: Annotated[str, Private.NO] = Field(pattern="^[0-9a-f]{40}$")
    folder: Annotated[str | None, Private.PATH] = Field(None, min_length=1, max_length=1000)


def recognise(raw: Path) -> bool:
    """Whether hub.yaml lies in `raw`."""
    return os.path.isfile(raw / NAME)


def open_source(raw: Path, follow_symlinks: bool) -> "HubDataset":
    """Raises UserError for what is wrong with hub.yaml, and where the dataset was not fetched."""
    try:
        config = check(HubConfig, read_yaml(raw / NAME))
    except ConfigError as error:
        fix = "write `dataset: owner/name` and `revision:` with the commit's 40 digits (docs/datasets.md)"
        raise UserError("; ".join(error.problems), where=raw / NAME, fix=fix) from error
    folder = _find_snapshot(raw, config) / (config.folder or "")
    if ".." in PurePosixPath(config.folder or "").parts or not folder.is_dir():
        raise UserError(f"no folder {config.folder!r} in the dataset", where=raw / NAME, fix="name one that it has")
    # In the cache all files are links, to where it keeps equal ones once.
    return HubDataset(raw, follow_symlinks, open_any(folder, follow_symlinks=True))


def _find_snapshot(raw: Path, config: HubConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(config.dataset, repo_type="dataset", revision=config.revision, local_files_only=True)
    except LocalEntryNotFoundError as error:
        fix = f"fetch it: hf download --repo-type dataset {config.dataset} --revision {config.revision}"
        what = f"{config.dataset} at {config.revision[:12]} is not in the hub's cache"
        raise UserError(what, where=raw / NAME, fix=fix) from error
    return Path(found)


@dataclass(frozen=True)
class HubDataset:
    """See `sources.PictureSource`.

    Attributes:
        raw: the folder with hub.yaml.
        inner: what it names.
    """

    raw: Path
    follow_symlinks: bool
    inner: PictureSource

    def scan(self) -> SourceContents:
        found = self.inner.scan()
        inner = found.edits, found.excluded, found.lonely_edits
        finish_contents(found, self.raw, list_edits(self.raw), self.follow_symlinks)
        taken = set(found.pictures)
        found.edits = {**{name: edit for name, edit in inner[0].items() if name in taken}, **found.edits}
        found.excluded, found.lonely_edits = sorted({*inner[1], *found.excluded}), [*inner[2], *found.lonely_edits]
        return found

    def picture(self, name: str) -> AbstractContextManager[Path]:
        return self.inner.picture(name)

    def captions(self, endings: Sequence[str], precedence: Sequence[str]) -> LayeredCaptions:
        inner = _InnerCaptions(self.raw, self.inner, tuple(endings), tuple(precedence))
        return LayeredCaptions(inner, self.raw, endings, self.follow_symlinks, precedence)


@dataclass(frozen=True)
class _InnerCaptions:
    """See `folder.layers.InnerCaptions`."""

    raw: Path
    source: PictureSource
    endings: tuple[str, ...]
    precedence: tuple[str, ...]

    @cached_property
    def _by_kind(self) -> dict[str, Captions]:
        return {kind: self.source.captions(self.endings, [kind]) for kind in self.precedence}

    @cached_property
    def _all(self) -> Captions:
        return self.source.captions(self.endings, self.precedence)

    def holds(self, name: str) -> bool:
        return not (self.raw / name).exists()

    def find(self, picture: str, kind: str) -> str | None:
        return self._by_kind[kind].find(picture)

    def read_lines(self, name: str, picture: str) -> list[str] | CaptionProblem:
        return self._all.read_lines(name, picture)

    def without_picture(self, pictures: Sequence[str]) -> Iterator[str]:
        # What an edit leaves out has a picture too.
        edited = [name.removesuffix(ENDING) for name in list_edits(self.raw)]
        return self._all.without_picture([*pictures, *edited])
