"""docs/hardware.md: every row has a command, and the commands are ones that exist."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer

from lorakiln.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text("utf-8")
ROWS = [line for line in PAGE.partition("## What never ran")[2].splitlines() if line.startswith("|")][2:]
SHOWN = re.findall(r"`([^`]+)`", "\n".join(row.split("|")[2] for row in ROWS))
SHOWN += [
    line.partition("  #")[0]
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


def test_every_row_says_what_to_run_and_what_is_right():
    assert len(ROWS) > 15
    for row in ROWS:
        never, command, right = (cell.strip() for cell in row.strip("|").split(" | "))
        assert never and right and ("`" in command), row


@pytest.mark.parametrize("command", sorted({one.strip() for one in SHOWN if one.startswith("lorakiln ")}))
def test_the_command_knows_its_options(command):
    name, *options = shlex.split(command)[1:]
    known = typer.main.get_command(app).commands[name]
    known.make_context(name, options)  # raises what the command would say


@pytest.mark.parametrize("module", sorted({*re.findall(r"python -m ([\w.]+)", " ".join(SHOWN))}))
def test_the_module_is_there(module):
    assert importlib.util.find_spec(module)
