"""Captions in a table beside the pictures.

    metadata.jsonl, metadata.csv    of a Hugging Face imagefolder: a row names its picture, relative to the table's
                                    folder, in `file_name`, and has the caption in `text`, or else in `caption` or
                                    `prompt`; our own outputs/captioned is such a folder (the docs of `datasets`)
    metadata.jsonl                  of sd-scripts: `image_path`, and `caption`, `tags` or both
    metadata.json, meta_cap.json,   of sd-scripts (--in_json): {NAME: {"caption": ..., "tags": ...}} with names without
    ...                             their ending, or whole paths of the machine where it was made

Of sd-scripts' tables a picture's text is its caption and its tags, as there (train_util.py, FineTuningDataset).
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.sources import CaptionProblem
from lorakiln.sources.folder.encodings import decode_text

# Of sd-scripts' the later ones, as its finetune scripts write them one after another, first.
TABLES = (
    *("metadata.jsonl", "metadata.csv", "metadata.json"),
    *("meta_lat.json", "meta_clean.json", "meta_cap_dd.json", "meta_cap.json"),
)
NAME, TEXTS = "file_name", ("text", "caption", "prompt")
PATH, TAGS = "image_path", "tags"  # of sd-scripts
LARGEST = 1_000_000_000  # bytes of a table
_SAVE = "save it as UTF-8"
_DRIVE = re.compile(r"[A-Za-z]:/")


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
            if isinstance(table, CaptionProblem) or _find_key(table, picture) is not None:
                return name
        return None

    def read(self, name: str, picture: str) -> str | CaptionProblem:
        """What a table says of a picture, with single spaces."""
        table = self._table(name)
        if isinstance(table, CaptionProblem):
            return table
        text = " ".join(table[_find_key(table, picture) or picture].split())
        return text or CaptionProblem(
            f"{name}: {picture}", "empty", "write a caption into its row, or delete the row to have one made"
        )

    def without_picture(self, pictures: set[str]) -> Iterator[str]:
        """The rows of the tables of these pictures' folders that name none of them: "metadata.jsonl: 3.png"."""
        for name in sorted({name for picture in pictures for name in self._above(picture)}):
            table = self._table(name)
            if not isinstance(table, CaptionProblem):
                known = pictures | {key for picture in pictures if (key := _find_key(table, picture))}
                yield from (f"{name}: {other}" for other in sorted(table) if other not in known)

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
            rows = _READERS[path.suffix](content)
            captions = {one: text for row in rows if (one := _name_of(row)) and (text := _text_of(row)) is not None}
            texts = dict(zip(_make_relative(list(captions)), captions.values(), strict=True))
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


def _find_key(table: Mapping[str, str], picture: str) -> str | None:
    """What a table calls a picture: sd-scripts' call it without its ending too."""
    return next((key for key in (picture, PurePosixPath(picture).with_suffix("").as_posix()) if key in table), None)


def _name_of(row: Mapping[str, object]) -> str:
    name = row.get(NAME, row.get(PATH))
    return name.replace("\\", "/").removeprefix("./") if isinstance(name, str) else ""


def _text_of(row: Mapping[str, object]) -> str | None:
    text = next((text for key in TEXTS if isinstance(text := row.get(key), str)), None)
    tags = row.get(TAGS) if PATH in row else None
    if not isinstance(tags, str) or not tags.strip():
        return text
    return f"{text}, {tags}" if text and text.strip() else tags


def _make_relative(names: list[str]) -> list[str]:
    """Names as they were given; whole paths below the folder that they have in common, which the pictures came from."""
    paths = [PurePosixPath(name) for name in names]
    whole = [path.parent for path in paths if _is_whole(path)]
    common = os.path.commonpath(whole) if whole else ""
    return [path.relative_to(common).as_posix() if _is_whole(path) else path.as_posix() for path in paths]


def _is_whole(path: PurePosixPath) -> bool:
    return path.is_absolute() or bool(_DRIVE.match(path.as_posix()))


def _read_json(content: str) -> list[dict[str, object]]:
    """sd-scripts' table as rows of its metadata.jsonl; another program's file of the same name gives none."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    rows = data.items() if isinstance(data, dict) else ()
    named = [(name, row) for name, row in rows if isinstance(row, dict)]
    return [{**row, PATH: name} for name, row in named if any(isinstance(row.get(key), str) for key in (*TEXTS, TAGS))]


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


_READERS = {".csv": _read_csv, ".json": _read_json, ".jsonl": _read_jsonl}
