"""DVC's cache, into which `dvc repro` copies what a stage has made."""

import configparser
import os
from pathlib import Path

from lorakiln.artefacts.disk import check_space

NO_COPIES = ("hardlink", "symlink", "reflink")  # cache.type


def check_dvc_cache(made: Path, before: Path) -> None:
    """Raise UserError if `dvc` runs this and its cache's disk has no room for what `made` holds and `before` did not.

    DVC itself writes a line for each file that it cannot keep, and ends with status 0.
    """
    if not os.environ.get("DVC_STAGE"):
        return
    cache, kinds = _cache(Path(os.environ.get("DVC_ROOT") or "."))
    present = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if set(kinds) & set(NO_COPIES) and present.stat().st_dev == made.stat().st_dev:
        return
    new = 0
    for path in made.rglob("*"):
        size, old = path.stat().st_size, before / path.relative_to(made)
        if path.is_file() and not (old.is_file() and old.stat().st_size == size):
            new += size
    check_space(cache, new, f"the copy of {before} in DVC's cache")


def _cache(root: Path) -> tuple[Path, list[str]]:
    """The folder of a project's cache, and how DVC links from there as far as its config says."""
    config = configparser.ConfigParser()
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    section = config["cache"] if config.has_section("cache") else {}
    kinds = [kind.strip() for kind in section.get("type", "").split(",")]
    return (root / ".dvc" / section.get("dir", "cache")).absolute(), kinds
