"""What the documents say is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [line for line in (ROOT / "docs" / "bad_input.md").read_text("utf-8").splitlines() if line.startswith("|")][2:]


def test_there_are_rows():
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS)
def test_bad_input_names_a_test_that_exists(row):
    cell = row.split("|")[-2].strip()
    if cell == "same":
        return
    file, _, name = cell.strip("`").partition("::")
    text = (ROOT / "tests" / file).read_text("utf-8")
    assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE)
