"""Commands that messages and docs print are there, with the options and settings that they are printed with.

What `lorakiln` commands print is run in tests/tools; here each line is read by the program that it is for.
"""

import ast
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import pytest
import typer
from dvc.cli.parser import get_main_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from lorakiln.cli import app
from pipelines.compose import compose_config

# A program's name where code begins (a line, a span, after a colon or another command), up to where the code ends.
PROGRAMS = "lorakiln|dvc|wandb|make|python -m|pip install"
PRINTED = re.compile(rf"(?:^|`|: |# |&& |\brun )((?:{PROGRAMS}) [^`\n#;]+)")
FILES = [
    *Path("src").rglob("*.py"),
    *Path("pipelines").glob("*.py"),
    *Path("recipes").rglob("*.py"),
    *Path("docs").glob("*.md"),
    Path("README.md"),
    *Path("conf").rglob("*.yaml"),
]
# What stands for something of the user's.
STANDS_FOR = {"NAME": "demo_style", "TEAM": "team", "X": "x", "FILE": "file", "FOLDER": "folder", "N": "1"}
LORAKILN = typer.main.get_command(app).commands


@cache
def texts(path):
    """The strings of a Python file, what is put into them as X; or a page's lines."""
    if path.suffix != ".py":
        return path.read_text("utf-8").splitlines()
    found, nodes = [], list(ast.walk(ast.parse(path.read_text("utf-8"))))
    pieces = {id(one) for node in nodes if isinstance(node, ast.JoinedStr) for one in node.values}
    for node in nodes:
        if id(node) in pieces:
            continue
        if isinstance(node, ast.JoinedStr):
            found.append("".join(one.value if isinstance(one, ast.Constant) else "X" for one in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@cache
def printed(program):
    """(file, words) of every printed command of a program; what is no shell's line is prose."""
    found = set()
    for path in FILES:
        for text in texts(path):
            for match in PRINTED.finditer(text):
                line = re.split(r"  |\)?, (?=[a-z])", match[1].strip())[0]
                if not line.startswith(program + " ") or "..." in line or "<" in line:
                    continue
                for stand_in, value in STANDS_FOR.items():
                    line = re.sub(rf"\b{stand_in}\b", value, line)
                try:
                    words = shlex.split(line.removeprefix(program).rstrip(".,;\\ "))
                except ValueError:  # an apostrophe: prose
                    continue
                if words:
                    found.add((path.as_posix(), *words))
    return sorted(found)


def options(words):
    return {word.partition("=")[0] for word in words if word.startswith("--")}


@pytest.mark.parametrize("line", printed("lorakiln"), ids=" ".join)
def test_lorakiln(line):
    _, name, *rest = line
    if name == "x":  # the version
        return
    assert name in LORAKILN
    command = LORAKILN[name]
    while hasattr(command, "commands") and rest:
        command = command.commands[rest.pop(0)]
    assert options(rest) <= {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("line", printed("dvc"), ids=" ".join)
def test_dvc(line):
    words = list(line[1:])
    if words in (["metrics"], ["plots"]):  # of which a page speaks as a whole
        return
    get_main_parser().parse_args(words)


@pytest.mark.parametrize("line", printed("wandb"), ids=" ".join)
def test_wandb(line):
    from wandb.cli.cli import cli

    command, rest = cli, list(line[1:])
    while rest and hasattr(command, "commands") and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    assert command is not cli
    assert options(rest) <= {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("line", [line for line in printed("make") if len(line) == 2], ids=" ".join)  # or a sentence
def test_make(line):
    assert re.search(rf"^{re.escape(line[1])}:", Path("Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", printed("pip install"), ids=" ".join)
def test_extras(line):
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    for wanted in re.findall(r"lorakiln\[(.+?)\]", " ".join(line)):
        assert set(wanted.split(",")) <= set(extras)


@pytest.mark.parametrize("line", printed("python -m"), ids=" ".join)
def test_modules(line):
    _, module, *words = line
    path = Path(*module.split("."))
    files = [*[path.with_suffix(".py")], *path.glob("*.py"), Path("src", path).with_suffix(".py"), Path("src", path)]
    assert any(file.exists() for file in files)
    if module in ("train", "pipelines.judge") and any("=" in word for word in words):
        given = OverridesParser.create().parse_overrides([word for word in words if "=" in word])
        first = [next(iter(one.sweep_string_iterator())) if one.is_sweep_override() else None for one in given]
        overrides = [
            one.input_line if value is None else f"{one.input_line.partition('=')[0]}={value}"
            for one, value in zip(given, first, strict=True)
        ]
        compose_config([one for one in overrides if not one.startswith("hydra")])
    else:
        text = "".join(file.read_text() for file in files if file.is_file())
        assert all(f'"{option}"' in text for option in options(words))


def test_enough_of_them_are_found():
    assert {line[1] for line in printed("lorakiln")} >= {"inspect", "convert", "merge", "push", "generate", "doctor"}
    assert {line[1] for line in printed("dvc")} >= {"repro", "pull", "add", "exp", "metrics"}
    assert len([line for line in printed("python -m") if line[1] == "train"]) > 15
    assert len(printed("wandb")) > 3
    assert {line[1] for line in printed("make")} >= {"demo", "test", "experiments"}
