"""Captions in a table beside the pictures: metadata.jsonl or metadata.csv of a Hugging Face imagefolder.

A row names its picture, relative to the table's folder, in `file_name`, and has the caption in `text`, or else in
`caption` or `prompt`. Our own outputs/captioned is such a folder. Source: the docs of Hugging Face `datasets`.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.sources import CaptionProblem
from lorakiln.sources.folder.encodings import decode_text

TABLES = ("metadata.jsonl", "metadata.csv")
NAME, TEXTS = "file_name", ("text", "caption", "prompt")
LARGEST = 1_000_000_000  # bytes of a table
_SAVE = "save it as UTF-8"


class CaptionTables:
    """The tables of one dataset, each read once.

    Args:
        raw: the dataset's folder.
        follow_symlinks: read through links that lead out of `raw`.
    """

    def __init__(self, raw: Path, follow_symlinks: bool) -> None:
        self.raw, self.root, self.follow = raw, raw.resolve(), follow_symlinks
        self._table = cache(self._read_table)

    def find(self, picture: str) -> str | None:
        """The table with a row about a picture, or one that cannot be read: the nearest, of its folder or one above;
        both are paths below the dataset's folder.
        """
        for name in self._above(picture):
            table = self._table(name)
            if isinstance(table, CaptionProblem) or picture in table:
                return name
        return None

    def read(self, name: str, picture: str) -> str | CaptionProblem:
        """What a table says of a picture, with single spaces."""
        table = self._table(name)
        if isinstance(table, CaptionProblem):
            return table
        text = " ".join(table[picture].split())
        return text or CaptionProblem(
            f"{name}: {picture}", "empty", "write a caption into its row, or delete the row to have one made"
        )

    def without_picture(self, pictures: set[str]) -> Iterator[str]:
        """The rows of the tables of these pictures' folders that name none of them: "metadata.jsonl: 3.png"."""
        for name in sorted({name for picture in pictures for name in self._above(picture)}):
            table = self._table(name)
            if not isinstance(table, CaptionProblem):
                yield from (f"{name}: {other}" for other in sorted(table) if other not in pictures)

    def _above(self, picture: str) -> Iterator[str]:
        """The tables that may be about a picture, the nearest first."""
        for folder in PurePosixPath(picture).parents:
            for table in TABLES:
                if (self.raw / folder / table).exists():
                    yield (folder / table).as_posix()

    def _read_table(self, name: str) -> Mapping[str, str] | CaptionProblem:
        path = self.raw / name
        if found := find_obstacle(path, self.root, self.follow):
            return CaptionProblem(name, found.reason, found.fix, found.detail)
        if path.is_dir() or path.stat().st_size > LARGEST:
            return CaptionProblem(name, "no table of captions", "remove it")
        try:
            content = decode_text(path.read_bytes())
            rows = _read_csv(content) if path.suffix == ".csv" else _read_jsonl(content)
            texts = {one: text for row in rows if (one := _name_of(row)) and (text := _text_of(row)) is not None}
        except UnicodeDecodeError:
            return CaptionProblem(name, "is not UTF-8", _SAVE)
        except OSError as error:
            return CaptionProblem(name, f"cannot be read ({error.strerror})", "change its permissions")
        except ValueError as error:
            return CaptionProblem(name, "is damaged", "mend this row", str(error))
        if rows and not texts:
            columns = ", ".join(dict.fromkeys(key for row in rows for key in row))
            fix = f"name the pictures in {NAME} and the captions in {TEXTS[0]}, or remove the table"
            return CaptionProblem(name, "has no captions", fix, f"its columns are {columns}")
        folder = PurePosixPath(name).parent
        return {(folder / one).as_posix(): text for one, text in texts.items()}


def _name_of(row: Mapping[str, object]) -> str:
    name = row.get(NAME)
    return name.replace("\\", "/").removeprefix("./") if isinstance(name, str) else ""


def _text_of(row: Mapping[str, object]) -> str | None:
    return next((text for key in TEXTS if isinstance(text := row.get(key), str)), None)


def _read_jsonl(content: str) -> list[dict[str, object]]:
    """Raises ValueError with the line's number."""
    rows = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is no JSON") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no object")
        rows.append(row)
    return rows


def _read_csv(content: str) -> list[dict[str, object]]:
    reader = csv.DictReader(io.StringIO(content, newline=""))
    try:
        return [{key: value for key, value in row.items() if isinstance(key, str)} for row in reader]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
