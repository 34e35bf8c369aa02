"""JSON and JSON lines with one spelling, so that equal content is equal bytes."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lorakiln.artefacts.disk import telling_disk_trouble
from lorakiln.artefacts.lasting import settle_file, settle_names
from lorakiln.console.errors import UserError


class Damaged(UserError, ValueError):
    """A file that one of our stages wrote, and that is not as it wrote it."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(f"damaged ({error})", where=path, fix="make it again: run its stage with `dvc repro -f`")


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What a file holds.

    Raises:
        FileNotFoundError: it is not there.
        Damaged: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Damaged(path, error) from error


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one compact JSON object a line, keys in the order given, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, one a line; raises as `read_json`."""
    try:
        with path.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise Damaged(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, then rename it into place; then it outlasts a power cut.

    Raises:
        UserError: the disk is full or not writable; the old file, if any, is intact.
    """
    aside = path.with_name(path.name + ".part")
    with telling_disk_trouble(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_text(text, encoding="utf-8")
            settle_file(aside)
            os.replace(aside, path)
            settle_names(path.parent)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
