"""Commands of ours that messages and docs print are there, with the options that they are printed with."""

import ast
import re
from pathlib import Path

import pytest
import typer

from lorakiln.cli import app

# `lorakiln` and what stands behind it up to the end of the span, or of the text.
PRINTED = re.compile(r"(?:^|`|: |# )lorakiln ([a-z-]+)\b([^`\n]*)")
COMMANDS = {
    name: {option for parameter in command.params for option in parameter.opts}
    for name, command in typer.main.get_command(app).commands.items()
}


def texts(path: Path) -> list[str]:
    """The strings of a Python file, what is put into them as X; or a page's code."""
    if path.suffix != ".py":
        return path.read_text("utf-8").splitlines()
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(one.value if isinstance(one, ast.Constant) else "X" for one in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def printed() -> list[tuple[str, str, str]]:
    files = [
        *Path("src").rglob("*.py"),
        *Path("pipelines").rglob("*.py"),
        *Path("recipes").rglob("*.py"),
        *Path("docs").rglob("*.md"),
        Path("README.md"),
    ]
    return sorted(
        {
            (path.as_posix(), match[1], match[2].strip())
            for path in files
            for text in texts(path)
            for match in PRINTED.finditer(text)
        }
    )


@pytest.mark.parametrize(("where", "name", "rest"), printed())
def test_a_printed_command_is_there_with_its_options(where, name, rest):
    assert name in COMMANDS, where
    options = set(re.findall(r"(?<!\S)(--[a-z-]+)", rest.split("#")[0]))
    assert options <= COMMANDS[name], where


def test_enough_of_them_are_found():
    found = printed()
    assert {name for _, name, _ in found} >= {"inspect", "convert", "resize", "merge", "push", "generate", "extract"}
    assert len([one for one in found if one[0].startswith("src/")]) >= 8
