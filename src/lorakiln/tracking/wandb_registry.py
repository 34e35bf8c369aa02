"""W&B's registry: files under a name that a team shares. With `wandb_tracker` the only module that imports wandb.

A registry holds collections; a collection holds versions of an artifact, v0, v1, ..., and aliases that point at them
(https://docs.wandb.ai/guides/core/registry).
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb
from wandb.errors import AuthenticationError, CommError, UsageError

from lorakiln.console.errors import UserError
from lorakiln.tracking.wandb_tracker import MOST_LETTERS, PATIENCE, has_key, make_artifact_name, repair_run_folders

TYPE = "model"  # the only type of artifacts that W&B's own registry, "model", takes
PREFIX = "wandb-registry-"
PLAIN = re.compile(r"[\w.-]+", re.ASCII)
LISTED = 12  # names that a message tells
ANYWHERE = "see that --registry, --entity, --organization and the key are right"


@dataclass(frozen=True)
class Place:
    """A name in a registry.

    Attributes:
        name: of the collection.
        registry: as W&B's pages call it.
        organization: None: that of the account, or of its team.
        entity: the team, or the account, that asks; None: the account's default.
    """

    name: str
    registry: str = "model"
    organization: str | None = None
    entity: str | None = None

    def __post_init__(self) -> None:
        for what, option, text in (("name", "NAME", self.name), ("registry", "--registry", self.registry)):
            if not PLAIN.fullmatch(text) or len(text) > MOST_LETTERS - len(PREFIX):
                most = MOST_LETTERS - len(PREFIX)
                fix = f"write up to {most} letters, digits, dots, dashes and underscores: {_suggest(text, most)}"
                raise UserError(f"{text!r} is no {what} that W&B's registry takes", where=option, fix=fix)

    @property
    def collection(self) -> str:
        """Its path, as W&B has it."""
        return "/".join([*([self.organization] if self.organization else []), f"{PREFIX}{self.registry}", self.name])


@dataclass(frozen=True)
class Version:
    """What stands under a name.

    Attributes:
        number: "v3".
        aliases: what else it is called, "latest" among them if it is.
        facts: what was said of it when it was put there.
        address: its page; "" if W&B does not tell.
    """

    number: str
    aliases: tuple[str, ...]
    facts: dict[str, Any]
    address: str


def check_alias(alias: str, option: str) -> None:
    """Refuse what W&B takes for a part of a path.

    Raises:
        UserError: naming `option`.
    """
    if not PLAIN.fullmatch(alias) or len(alias) > MOST_LETTERS:
        fix = f"write letters, digits, dots, dashes and underscores: {_suggest(alias, MOST_LETTERS)}"
        raise UserError(f"{alias!r} is no alias that W&B takes", where=option, fix=fix)


def find(place: Place, alias: str) -> Version | None:
    """The version that `alias` ("latest", "v3", ...) points at; None if there is no such.

    Raises:
        UserError: nobody is logged in, W&B is not reached, or there is no such registry.
    """
    with _explaining(place):
        found = _find(_connect(place), place, alias)
        return _describe(found) if found else None


def fetch(place: Place, alias: str, folder: Path) -> Version:
    """Write the files of a version into `folder`, which is there and empty. What they hold is for the caller to check.

    Raises:
        UserError: as `find`; there is no such name, or no such alias.
    """
    with _explaining(place):
        api = _connect(place)
        found = _find(api, place, alias)
        if found is None:
            raise _make_missing(api, place, alias)
        found.download(str(folder), skip_cache=True)
        return _describe(found)


def put(
    place: Place,
    files: Mapping[str, Path],
    facts: Mapping[str, Any],
    aliases: Sequence[str],
    record: Mapping[str, Any],
    home: Path,
) -> Version:
    """Put files under a name, as a new version; equal ones that are there already keep theirs.

    They are logged by a run, so that W&B knows where they come from: by the one that made them, where W&B has it, else
    by one of their own.

    Args:
        files: by their names inside.
        record: what the run's tracker.json holds; of a file from elsewhere, `project` alone.
        home: the folder in which W&B's own, `wandb`, is.

    Raises:
        UserError: as `find`, or it may not be written.
    """
    check_online()
    known = record.get("id") if record.get("kind") == "wandb" and record.get("url") else None
    if known:
        repair_run_folders(home / "wandb", known)
    quiet = wandb.Settings(
        silent=True, console="off", init_timeout=PATIENCE, login_timeout=PATIENCE, x_disable_meta=True
    )
    made = wandb.Artifact(make_artifact_name(f"{place.name}-promoted"), type=TYPE, metadata=dict(facts))
    for inside, path in files.items():
        made.add_file(str(path), name=inside, policy="immutable", skip_cache=True)
    with _explaining(place):
        run = wandb.init(
            project=record.get("project") or "lorakiln",
            entity=record.get("entity") if known else place.entity,
            id=known or f"promote-{made.digest}",
            name=None if known else f"promote {place.name}",
            job_type="promote",
            resume="allow",
            dir=str(home),
            mode="online",
            settings=quiet,
        )
        try:
            linked = run.link_artifact(made, place.collection, list(aliases))
        finally:
            run.finish()
        return _describe(linked)


def check_online() -> None:
    """Refuse where W&B is not to be asked.

    Raises:
        UserError: it is set to be offline, or nobody is logged in.
    """
    mode = wandb.setup().settings.mode
    if mode != "online":
        how = "unset WANDB_MODE" if os.environ.get("WANDB_MODE") else "run `wandb online`"
        raise UserError(f"W&B is set to be {mode} here, and the registry is W&B's", fix=f"{how}, then the same again")
    if not has_key():
        raise UserError("W&B knows nobody here", fix="run `wandb login`, or set WANDB_API_KEY")


def _connect(place: Place) -> wandb.Api:
    check_online()
    overrides = {name: value for name, value in (("entity", place.entity),) if value}
    return wandb.Api(overrides=overrides, timeout=PATIENCE)


def _find(api: wandb.Api, place: Place, alias: str) -> wandb.Artifact | None:
    try:
        found: wandb.Artifact = api.artifact(f"{place.collection}:{alias}")
    except (CommError, ValueError) as error:
        # The client has no kinds of errors for these: by its words.
        if "membership" in str(error) and "not found" in str(error):
            return None
        raise
    return found


def _make_missing(api: wandb.Api, place: Place, alias: str) -> UserError:
    """What to tell of a name or an alias that is not there: with those that are."""
    path = place.collection.removesuffix(f"/{place.name}")
    collections = {one.name: one for one in api.artifact_collections(path, TYPE)}
    if found := collections.get(place.name):
        there = _enumerate(found.aliases)
        return UserError(f"{place.name} has no {alias!r}", where=f"registry {place.registry}", fix=f"there is {there}")
    fix = f"there is {_enumerate(collections)}" if collections else "`lorakiln promote` puts one there"
    return UserError(f"nothing is called {place.name!r}", where=f"registry {place.registry}", fix=fix)


def _enumerate(names: Iterator[str] | Mapping[str, Any] | Sequence[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:LISTED]) + (f" and {len(found) - LISTED} more" if len(found) > LISTED else "")


def _describe(found: wandb.Artifact) -> Version:
    return Version(found.version, tuple(sorted(found.aliases)), dict(found.metadata), found.url)


def _suggest(text: str, most: int) -> str:
    return make_artifact_name(text.encode("ascii", "replace").decode())[:most]


@contextmanager
def _explaining(place: Place) -> Iterator[None]:
    """What W&B's client raises, told to the user."""
    try:
        yield
    except AuthenticationError as error:
        fix = "see that the server is reached and that the key is one of its own: `wandb login --relogin`"
        raise UserError(f"W&B did not let us in: {_first_line(error)}", fix=fix) from error
    except (CommError, UsageError, ValueError, OSError) as error:
        where = f"registry {place.registry}"
        raise UserError(f"W&B refused: {_first_line(error)}", where=where, fix=ANYWHERE) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
