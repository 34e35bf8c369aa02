"""`python -m pipelines.sweep_tables`: a sweep's numbers in a page, from job folders as finished runs leave them."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from lorakiln.console.errors import UserError, exit_on_user_error
from pipelines import sweep_tables
from tests.made_facts import run_facts

MARKS = "<!-- sweep: begin -->\nold\n<!-- sweep: end -->"
TABLE = """
| job | rate | style: ink | right thing | validation loss | parameters | seconds | GiB |
| --- | --- | --- | --- | --- | --- | --- | --- |
| base model |  | 10% (4 to 21) | 100% |  |  |  |  |
| `lora` | 0.001 | 98% (90 to 100) | 83% | 0.0747 | 622,592 | 50 | 1.25 |
| `dora` | 1 | 98% (90 to 100) | 83% | 0.0747 |  |  |  |

Without a result: `oft` (failed).

"""


@pytest.fixture
def sweep(tmp_path):
    """Two jobs with results, the second of a version that told nothing of costs, and one that failed."""
    style = {"name": "style", "answer": "ink", "labels": ["ink", "oil"]}
    thing = {"name": "thing", "labels": ["a cat", "a dog"]}
    evaluate = {"prompts": ["a cat"], "seeds": [0], "weights": [0.0, 1.0], "classify": [style, thing]}
    share = {"w0.00": {"mean": 0.1, "low": 0.04, "high": 0.21}, "w1.00": {"mean": 0.98, "low": 0.9, "high": 0.997}}
    right = {"w0.00": {"mean": 1.0}, "w1.00": {"mean": 0.83}}
    for name, rate in (("lora", 1e-3), ("dora", 1.0)):
        run, report = tmp_path / name / "run", tmp_path / name / "report"
        run.mkdir(parents=True)
        report.mkdir()
        (report / "metrics.json").write_text(json.dumps({"right_style": share, "right_thing": right, "drawn": {}}))
        more = {"parameters": 622_592} if name == "lora" else {}
        adapters = [{"step": 200, "file": "a", "validation_loss": 0.0747}]
        run_facts(step=200, adapters=adapters, **more).write(run / "facts.json")
        told = {"train": {"optimizer": {"lr": rate}}, "evaluate": evaluate}
        (tmp_path / name / "resolved.yaml").write_text(yaml.safe_dump(told))
    told = {"steps_per_second": 4.0, "peak_memory": 5 * 2**28}
    (tmp_path / "lora" / "run" / "provenance.json").write_text(json.dumps(told))
    titles = [f"+experiment=kinds/{name}" for name in ("dora", "lora", "oft")]
    jobs = [
        {"number": 1, "job": titles[0], "folder": str(tmp_path / "dora")},
        {"number": 0, "job": titles[1], "folder": str(tmp_path / "lora")},
    ]
    failed = [{"title": titles[2], "status": "failed"}]
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": jobs, "failed": failed}))
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["sweep_tables", *map(str, arguments)])
    return exit_on_user_error(sweep_tables.main)


def test_the_table_stands_between_the_marks_and_the_rest_stays(sweep, monkeypatch):
    page = sweep / "page.md"
    page.write_text(f"# Kinds\n{MARKS}\nAfter.\n")
    assert not run(monkeypatch, sweep, page)
    made = page.read_text()
    assert made == f"# Kinds\n<!-- sweep: begin -->\n{TABLE}<!-- sweep: end -->\nAfter.\n"
    assert not run(monkeypatch, sweep, page)
    assert page.read_text() == made


@pytest.mark.parametrize(("page", "told"), [("no marks\n", "no place for a sweep's table"), (None, "no such file")])
def test_what_has_no_place_for_a_table_is_refused_and_left(sweep, monkeypatch, capsys, page, told):
    path = sweep / "page.md"
    if page is not None:
        path.write_text(page)
    assert run(monkeypatch, sweep, path) == 1
    assert told in capsys.readouterr().err
    assert page is None or path.read_text() == page


def test_a_folder_that_holds_no_sweep_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        sweep_tables.format_sweep(tmp_path)


@pytest.mark.parametrize("page", ["docs/adapters.md"])
def test_the_pages_have_a_place_for_theirs(page):
    text = Path(page).read_text()
    (before,) = sweep_tables.BETWEEN.findall(text)
    assert sweep_tables.replace_table(text, before, page) == text
