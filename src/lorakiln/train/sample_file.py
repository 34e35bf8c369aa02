"""Prompts of samples in a file: what sd-scripts calls --sample_prompts, in its three forms.

- .txt: a picture a line, "#" begins a comment; after the prompt "--n" (negative prompt), "--w" and "--h" (pixels),
  "--d" (seed), "--s" (steps), "--l" (guidance) and "--am" (the LoRA's weight), as its train_network.py and gen_img.py
  read them.
- .json: a list of such lines, or of objects with the keys below.
- .toml: [prompt] with what all have in common, and [[prompt.subset]] for each picture.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import LARGEST_SIDE, MANY, Seed, Settings, check

LARGEST = 1_000_000  # bytes
# Of a line, by what stands behind "--": the key here.
OPTIONS = {"n": "negative", "w": "width", "h": "height", "d": "seed", "s": "steps", "l": "guidance", "am": "weight"}
# What sd-scripts calls a key in its .json and .toml.
ALIASES = {"negative_prompt": "negative", "sample_steps": "steps", "scale": "guidance"}
_OPTION = re.compile(r"\s--([A-Za-z]+)(?=\s|$)")


class SampleRequest(Settings):
    """A picture to draw; what is None is as `train.samples` and the base have it."""

    prompt: str
    negative: str = ""
    width: int | None = Field(None, ge=8, le=LARGEST_SIDE)
    height: int | None = Field(None, ge=8, le=LARGEST_SIDE)
    seed: Seed | None = None
    steps: int | None = Field(None, ge=1, le=MANY)
    guidance: float | None = Field(None, ge=0, le=1000)
    weight: float = Field(1.0, ge=-10, le=10)


def read_sample_file(path: Path) -> list[SampleRequest]:
    """What is to be drawn, in the file's order.

    Raises:
        UserError: the file is missing, too large, none of these forms, empty, or a picture of it means nothing.
    """
    fix = "give a .txt with a prompt a line, a .json or a .toml, as docs/training.md shows"
    forms = {".txt": _read_lines, ".json": _read_json, ".toml": _read_toml}
    if path.suffix.lower() not in forms:
        raise UserError("no file of prompts by its ending", where=path, fix=fix)
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"larger than {LARGEST:,} bytes", where=path, fix=fix)
        text = path.read_text(encoding="utf-8-sig")
        given = list(forms[path.suffix.lower()](text))
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path, fix="check train.samples.file") from error
    except (ValueError, TypeError, KeyError) as error:  # which those of UTF-8, JSON and TOML are too
        raise UserError(f"not readable as {path.suffix} of prompts: {error}", where=path, fix=fix) from error
    if not given:
        raise UserError("there is no prompt in it", where=path, fix=fix)
    return [_check(entry, place, path) for place, entry in given]


def _check(entry: Any, place: str, path: Path) -> SampleRequest:
    if isinstance(entry, str):
        entry = _parse_line(entry, f"{path}, {place}")
    if not isinstance(entry, dict):
        raise UserError(f"{entry!r} is no prompt", where=f"{path}, {place}", fix="give a text, or an object")
    named = {ALIASES.get(key, key): value for key, value in entry.items()}
    try:
        return check(SampleRequest, named)
    except ConfigError as error:
        known = ", ".join(SampleRequest.model_fields)
        raise UserError("; ".join(error.problems), where=f"{path}, {place}", fix=f"known: {known}") from error


def _read_lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield f"line {number}", line.strip()


def _read_json(text: str) -> Iterator[tuple[str, Any]]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise TypeError("it holds no list")
    yield from ((f"entry {number}", entry) for number, entry in enumerate(found, 1))


def _read_toml(text: str) -> Iterator[tuple[str, Any]]:
    shared = dict(tomllib.loads(text)["prompt"])
    subsets = shared.pop("subset", None)
    if not isinstance(subsets, list):
        raise TypeError("it has no [[prompt.subset]]")
    yield from ((f"subset {number}", {**shared, **entry}) for number, entry in enumerate(subsets, 1))


def _parse_line(line: str, where: str) -> dict[str, Any]:
    prompt, *rest = _OPTION.split(f" {line}")
    found: dict[str, Any] = {"prompt": prompt.strip()}
    for name, text in zip(rest[::2], rest[1::2], strict=True):
        key = OPTIONS.get(name.lower())
        if key is None:
            known = ", ".join(f"--{one} ({meaning})" for one, meaning in OPTIONS.items())
            raise UserError(f"--{name} has no meaning here", where=where, fix=f"leave it out; known: {known}")
        found[key] = text.strip() if key == "negative" else _number(text.strip(), f"--{name}", key, where)
    return found


def _number(text: str, option: str, key: str, where: str) -> int | float:
    try:
        return float(text) if key in ("guidance", "weight") else int(text)
    except ValueError as error:
        raise UserError(f"{option} {text!r} is no number", where=where, fix=f"give {option} the {key}") from error
