"""The pages show what the kept results say, and no result names a machine or a path."""

import json
import re

import pytest

from benchmarks.results import ENOUGH, MARKS, SHOWN, TITLES, make_summary, make_tables, put_between_marks, read_results
from benchmarks.rounds import RESULTS, ROOT


def kept(name: str, **facts: object) -> dict:
    return {
        "benchmark": name,
        "date": "2030-01-02",
        "machine": "2 cores (x86_64), 8 GiB",
        "versions": {"Python": "3.12"},
        "settings": {"steps": "1 and 3"},
        "rounds": 5,
        "load": "Other programs used 0.1 of 2 cores meanwhile.",
        "head": ["program", "s"],
        "rows": [["ours", "1.0"]],
        "facts": facts,
        "records": [],
    }


def test_the_pages_show_the_kept_results():
    results = read_results()
    for page, text in (
        (ROOT / "docs" / "benchmarks.md", make_tables(results)),
        (ROOT / "README.md", make_summary(results)),
    ):
        assert put_between_marks(page, text) == page.read_text(), "run `python -m benchmarks.results --write`"


def test_what_was_not_measured_is_said_to_be_so():
    text = make_tables({"drawing": kept("drawing")})
    assert "### Drawing\n\n2030-01-02; 2 cores (x86_64), 8 GiB; Python 3.12; rounds 5, steps 1 and 3." in text
    assert text.count("Not measured: `python -m benchmarks.") == len(TITLES) - 1
    assert "### A whole run\n\nNot measured: `python -m benchmarks.whole_run`." in text


@pytest.mark.parametrize("rounds", [None, 1, ENOUGH - 1])
def test_readme_shows_nothing_of_too_few_rounds(rounds):
    name, fact, _ = SHOWN[0]
    results = {name: kept(name, **{fact: {"bare loop": "1.10"}}) | {"rounds": rounds}} if rounds else {}
    assert make_summary(results) == "Not measured in enough rounds yet."


def test_readme_shows_a_row_for_each_program_set_against():
    name, fact, what = SHOWN[0]
    text = make_summary({name: kept(name, **{fact: {"bare loop": "1.10 (1.00 to 1.20)", "sd-scripts": "1.30"}})})
    assert f"| {what} | bare loop | 1.10 (1.00 to 1.20) |" in text
    assert f"| {what} | sd-scripts | 1.30 |" in text
    assert "5 rounds." in text and "2030-01-02" in text
    busy = kept(name, **{fact: {"bare loop": "1.10"}}) | {"load": "Warning: the walls are spoiled."}
    assert "5 rounds, beside much other work." in make_summary({name: busy})


def test_a_page_without_the_marks_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before {MARKS[0]} old")
    with pytest.raises(SystemExit, match="(?s)has no.*fix: "):
        put_between_marks(page, "new")
    page.write_text(f"before\n{MARKS[0]}old{MARKS[1]}\nafter")
    assert put_between_marks(page, "new") == f"before\n{MARKS[0]}\n\nnew\n\n{MARKS[1]}\nafter"


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.name)
def test_a_kept_result_is_whole_and_names_no_place(file):
    result = json.loads(file.read_text())
    assert result["benchmark"] == file.stem in TITLES
    assert len({record["round"] for record in result["records"]}) == result["rounds"] >= 1
    assert all(len(row) == len(result["head"]) for row in result["rows"])
    assert not re.search(r'"/|/home/|/root|/tmp', file.read_text())
