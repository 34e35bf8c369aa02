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


# Files and modules of the checkout that a page names. bad_input.md writes its paths from tests/ on; see above.
PAGES = [
    page
    for pattern in ("*.md", "docs/**/*.md", "models/**/*.md", "data/raw/*/*.md")
    for page in sorted(ROOT.glob(pattern))
    if page.name != "bad_input.md"
]
NAMED = re.compile(r"`((?:src|pipelines|recipes|benchmarks|tests|conf|models)/[\w./-]*)`")
RUN = re.compile(r"python -m ((?:pipelines|recipes|benchmarks)[\w.]*)")


def find_all(pattern: re.Pattern) -> list[tuple[str, str]]:
    named = ((page, name) for page in PAGES for name in pattern.findall(page.read_text("utf-8")))
    return sorted({(page.relative_to(ROOT).as_posix(), name) for page, name in named})


@pytest.mark.parametrize(("page", "name"), find_all(NAMED))
def test_a_page_names_files_that_exist(page, name):
    assert "NAME" in name or (ROOT / name).exists(), f"{page} names {name}"


@pytest.mark.parametrize(("page", "module"), find_all(RUN))
def test_a_page_runs_modules_that_exist(page, module):
    path = ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page} runs {module}"


def test_the_pages_name_enough():
    assert len(find_all(NAMED)) > 15 and len(find_all(RUN)) >= 4
    assert ("models/tiny/README.md", "recipes/tiny/") in find_all(NAMED)
