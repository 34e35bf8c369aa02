"""JSON and JSON lines with one spelling, so that equal content is equal bytes."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lorakiln.artefacts.atomic_file import opening_locked, replacing_file
from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.fsync import sync_file, sync_names
from lorakiln.console.errors import UserError


class Damaged(UserError, ValueError):
    """A file that one of our stages wrote, and that is not as it wrote it."""

    def __init__(self, path: Path, error: object) -> None:
        super().__init__(f"damaged ({error})", where=path, fix="make it again: run its stage with `dvc repro -f`")


class Missing(UserError, FileNotFoundError):
    """A file that one of our stages writes, and that is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__("no such file", where=path, fix="run the stage that makes it: `dvc repro`")


class JsonObject(dict[str, Any]):
    """What a stage's file says; what it does not say is damage, told with the file's name."""

    def __init__(self, data: dict[str, Any], path: Path) -> None:
        super().__init__(data)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise Damaged(self._path, f"nothing about {key!r} in it")


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> JsonObject:
    """The object that a file holds.

    Raises:
        Missing: it is not there (also a FileNotFoundError).
        Damaged: it is no JSON object; later: a key that is asked for is not in it.
    """
    try:
        return _to_object(json.loads(path.read_text(encoding="utf-8")), path)
    except FileNotFoundError as error:
        raise Missing(path) from error
    except (ValueError, RecursionError) as error:
        raise Damaged(path, error) from error


def _to_object(data: Any, path: Path) -> JsonObject:
    if not isinstance(data, dict):
        raise ValueError("no object of named values")
    return JsonObject(data, path)


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one compact JSON object a line, keys in the order given, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, one a line; raises as `read_json`."""
    return list(iterate_jsonl(path))


def iterate_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The same, each when it is asked for: of a hundred thousand rows there is one in memory."""
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield _to_object(json.loads(line), path)
    except FileNotFoundError as error:
        raise Missing(path) from error
    except (ValueError, RecursionError) as error:
        raise Damaged(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, line ends as they are; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it into place; then it outlasts a power cut.

    Raises:
        UserError: the disk is full or not writable; the old file, if any, is intact.
    """
    with explaining_disk_errors(path), replacing_file(path) as beside, opening_locked(beside) as file:
        file.write(content)
        file.flush()
        sync_file(beside)
        os.replace(beside, path)
        sync_names(path.parent)
