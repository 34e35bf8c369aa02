"""The workspace and the report as they would be sent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("wandb_workspaces")
ROOT = Path(__file__).parents[2]


def run(*arguments, home):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(home), "NETRC": str(home / "netrc"), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.dashboard", *arguments], cwd=ROOT, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_dry_run_prints_sections_and_the_metrics_that_are_logged(tmp_path):
    done = run("--dry-run", "--entity", "team", "--compare", "one-1", "two-2", home=tmp_path)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["workspace"]["entity"] == "team"
    sections = made["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    names = [section["name"] for section in sections]
    assert names[:6] == ["Training", "Quality", "Samples", "Sweep", "Data", "System"]
    kinds = {panel["viewType"] for section in sections for panel in section["panels"]}
    assert {"Parallel Coordinates Plot", "Parameter Importance", "Scatter Plot", "Media Browser"} <= kinds
    text = json.dumps(made["workspace"])
    # Each is logged under this name: see tests/tracking/test_recorded.py and tests/evaluate/test_evaluate_stage.py.
    for name in (
        "loss_smoothed", "loss_quarter/4", "validation_loss", "grad_norm", "pictures_per_second", "memory_gib",
        "samples_by_step", "evaluate/obedience", "evaluate/likeness", "evaluate/grids/trigger", "contact_sheet",
    ):  # fmt: skip
        assert name in text, name
    # A front that falls from left to right cannot be drawn by the highest point so far.
    assert "w1.00" not in text and "Pareto" not in text
    (runs,) = made["workspace"]["spec"]["section"]["runSets"]
    assert runs["grouping"] == []  # else panels draw one point a sweep
    (chosen,) = [block["metadata"]["runSets"] for block in made["report"]["spec"]["blocks"] if "metadata" in block]
    filters = chosen[0]["filters"]["filters"]
    assert [(one["key"]["name"], one["op"], one["value"]) for one in filters] == [
        (name, "IN", ["one-1", "two-2"]) for name in ("displayName", "name")
    ]
    assert chosen[0]["search"]["query"] == ""


@pytest.mark.slow
def test_without_an_account_it_says_how_to_get_on(tmp_path):
    done = run("--entity", "team", home=tmp_path)
    assert done.returncode == 1
    assert "wandb login" in done.stderr and "Traceback" not in done.stderr
