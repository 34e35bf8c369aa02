"""The workspace and the report as they would be sent."""

import json
import os
import re
import subprocess
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.http_server import Handler, address_of, serving

pytest.importorskip("wandb_workspaces")
ROOT = Path(__file__).parents[2]


def run(*arguments, home, **more):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(home), "NETRC": str(home / "netrc"), "PYTHONPATH": str(ROOT / "src"), **more}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.dashboard", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


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
        "loss_smoothed",
        "loss_quarter/4",
        "validation_loss",
        "grad_norm",
        "pictures_per_second",
        "memory_gib",
        "samples_by_step",
        "evaluate/obedience",
        "evaluate/likeness",
        "evaluate/grids/trigger",
        "contact_sheet",
    ):
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


class StandIn(ThreadingHTTPServer):
    """What the real client asks of W&B when it saves views, and answers to it.

    Attributes:
        views: those saved, by id.
        inserted: how many of them were new.
        user: who the key belongs to; None for a wrong one.
    """

    def __init__(self, *where):
        super().__init__(*where)
        self.views, self.inserted, self.projects, self.user = {}, 0, ["lorakiln"], "me"

    def answer(self, query, asked):
        name = re.search(r"(?:query|mutation)\s+(\w+)", query)[1]
        if name == "Viewer":
            viewer = {"id": "u", "entity": "team", "username": self.user, "email": "", "flags": "{}"}
            return {"viewer": {**viewer, "teams": {"edges": [{"node": {"name": "team"}}]}} if self.user else None}
        if name.lower().startswith("upsertview"):
            return {"upsertView": self.upsert(asked)}
        if name == "Views":
            if asked["project"] not in self.projects:
                return {"project": None}
            kept = [view for view in self.views.values() if view["type"] == asked["kind"]]
            kept.sort(key=lambda view: view["id"], reverse=True)
            at = int(asked.get("after") or 0)  # one a page
            page = {"hasNextPage": at + 1 < len(kept), "endCursor": str(at + 1)}
            return {"project": {"allViews": {"edges": [{"node": one} for one in kept[at : at + 1]], "pageInfo": page}}}
        if name == "ProjectInternalId":
            return {"project": {"id": "p", "internalId": "p"} if asked["projectName"] in self.projects else None}
        more = {"entityName": "team", "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "user": None}
        edges = [{"node": {"id": one, "name": one, **more}, "cursor": ""} for one in self.projects]
        listed = {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": ""}}
        return {"models": listed, "projects": listed}

    def upsert(self, asked):
        new = not asked.get("id")
        self.inserted += new
        number = asked.get("id") or f"view-{len(self.views):03}"
        project = {"id": "p", "name": asked["projectName"], "entityName": asked["entityName"]}
        keys = ("type", "name", "displayName", "description", "spec")
        self.views[number] = {"id": number, "project": project, **{key: asked[key] for key in keys}}
        return {"view": {**self.views[number], "updatedAt": "2026-01-01T00:00:00Z"}, "inserted": new}


class Answers(Handler):
    def do_POST(self):
        body, answer = self.read(), {}
        if self.path == "/graphql":
            asked = json.loads(body)
            answer = {"data": self.server.answer(asked["query"], asked.get("variables") or {})}
        self.answer(answer)


@pytest.fixture
def wandb():
    with serving(Answers, StandIn) as server:
        yield server


def save(server, home, *arguments):
    address = address_of(server)
    return run("--entity", "team", *arguments, home=home, WANDB_BASE_URL=address, WANDB_API_KEY="x" * 40)


@pytest.mark.slow
def test_a_second_run_updates_what_the_first_has_made(wandb, tmp_path):
    first = save(wandb, tmp_path)
    assert first.returncode == 0, first.stderr
    assert sorted((one["type"], one["displayName"]) for one in wandb.views.values()) == [
        ("project-view", "LoRAKiln"),
        ("runs", "LoRAs compared"),
    ]
    before = json.loads(json.dumps(wandb.views))
    for view in wandb.views.values():
        view["spec"] = "of an older release"
    again = save(wandb, tmp_path)
    assert again.returncode == 0 and again.stdout == first.stdout
    assert wandb.inserted == 2 and wandb.views.keys() == before.keys()
    names = {number: view["name"] for number, view in wandb.views.items()}
    assert {before[number]["name"] for number in names if before[number]["type"] == "project-view"} == {
        name for number, name in names.items() if wandb.views[number]["type"] == "project-view"
    }
    assert all(view["spec"].startswith("{") for view in wandb.views.values())


@pytest.mark.slow
def test_each_comparison_is_a_report_of_its_own(wandb, tmp_path):
    for runs in (["two", "one"], ["one", "two"], ["three", "one"]):
        done = save(wandb, tmp_path, "--compare", *runs)
        assert done.returncode == 0, done.stderr
    titles = sorted(one["displayName"] for one in wandb.views.values() if one["type"] == "runs")
    assert titles == ["LoRAs compared: one, three", "LoRAs compared: one, two"] and wandb.inserted == 3


@pytest.mark.slow
def test_a_project_that_is_not_there_and_a_wrong_key_are_told(wandb, tmp_path):
    absent = save(wandb, tmp_path, "--project", "lorakilm")
    assert absent.returncode == 1 and "team/lorakilm" in absent.stderr and "--project" in absent.stderr
    wandb.user = None
    wrong = save(wandb, tmp_path)
    assert wrong.returncode == 1 and "W&B refused" in wrong.stderr
    assert "Traceback" not in absent.stderr + wrong.stderr and not wandb.views
