"""A search's trials, run by small commands: what the study is told, and what a stop leaves open."""

import json
import sys
import threading
import time
from statistics import median

import optuna
import pytest
from optuna.trial import TrialState

from lorakiln.console.errors import UserError
from lorakiln.sweep.devices import Claims
from lorakiln.sweep.jobs import Job
from lorakiln.sweep.local_jobs import LocalProcesses
from lorakiln.sweep.search import Search
from lorakiln.sweep.study import SearchSettings, SharedStudy
from tests.made_facts import run_facts

# Its settings are rank and lr; likeness is the rank, the validation loss the lr at every one of many steps.
SCRIPT = (
    f"FACTS = {run_facts().to_dict()!r}\n"
    + """
import json, os, pathlib, signal, sys, time
folder, rank, lr = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
open(folder / "calls", "a").write("called\\n")
if rank == 13: sys.exit(1)
if rank == 60 and len(open(folder / "calls").readlines()) == 1: time.sleep(60)
for step in range(8):
    if path := os.environ.get("LORAKILN_LIVE_VALIDATION"):
        with open(path, "a") as file: file.write(f"{step} {lr}\\n")
        time.sleep(0.2)
for name in ("report", "run"): (folder / name).mkdir(exist_ok=True)
scores = {"w0.00": {"mean": 0.0}, "w1.00": {"mean": float(rank)}}
metrics = {"image_similarity": scores, "clip_score": scores}
facts = {**FACTS, "adapters": [{"step": 8, "file": "a", "validation_loss": lr}]}
(folder / "run" / "facts.json").write_text(json.dumps(facts))
(folder / "report" / "metrics.json").write_text(json.dumps(metrics))
"""
)


ONE_LOSS = optuna.distributions.CategoricalDistribution(["0.1"])


class Trial(Job):
    @property
    def command(self):
        return [sys.executable, "-c", SCRIPT, str(self.folder), *(one.split("=")[1] for one in self.overrides)]


class Launcher:
    """Makes jobs as ours do, without Hydra."""

    def __init__(self, root, at_once=1):
        self.root, self.at_once = root, at_once

    def job(self, number, overrides, own):
        return Trial(number, tuple(own), self.root / ",".join(own), " ".join(own), {"own": list(own)})

    def executor(self):
        self.running = LocalProcesses(self.at_once, Claims([]))
        return self.running


@pytest.fixture
def make_search(tmp_path):
    def make(ranks, losses=ONE_LOSS, objectives=("likeness",), trials=6, prune=False, at_once=1):
        space = {"rank": optuna.distributions.CategoricalDistribution(ranks), "lr": losses}
        settings = SearchSettings(list(objectives), trials, 0, 100, 1, 0)
        study = SharedStudy(tmp_path, "test", f"sqlite:///{tmp_path}/s.db", space, settings)
        return Search(study, Launcher(tmp_path, at_once), ["+experiment=x"], prune)

    return make


def states(search):
    return [(trial.params["rank"], trial.state, trial.values) for trial in search.study.study.get_trials()]


def test_results_and_failures_are_told_and_equal_settings_run_once(make_search, tmp_path, capsys):
    search = make_search(["4", "13"], at_once=2)
    search.run()
    told = {"4": (TrialState.COMPLETE, [4.0]), "13": (TrialState.FAIL, None)}
    assert {rank for rank, _, _ in states(search)} == set(told) and len(states(search)) == 6
    assert all((state, values) == told[rank] for rank, state, values in states(search))
    assert (tmp_path / "rank=4,lr=0.1" / "calls").read_text() == "called\n"
    assert {outcome.status for outcome in search.outcomes()} == {"finished", "failed"}
    output = capsys.readouterr().out
    assert "6: 6 to run; at most 2 at a time" in output and ", likeness 4" in output
    make_search(["4", "13"]).run()
    assert "6 trials, 6 ended before" in capsys.readouterr().out


def test_hopeless_trials_are_pruned(make_search):
    search = make_search(["4"], optuna.distributions.FloatDistribution(0.1, 0.9), prune=True)
    search.run()
    finished = []
    for trial in search.study.study.get_trials():
        loss = trial.params["lr"]
        hopeless = bool(finished) and loss > median(finished)
        assert trial.state == (TrialState.PRUNED if hopeless else TrialState.COMPLETE)
        finished += [] if hopeless else [loss]
    assert 0 < len(finished) < 6
    assert [one.status for one in search.outcomes()].count("pruned") == 6 - len(finished)


def test_a_stop_leaves_its_trial_open_and_the_same_command_goes_on_with_it(make_search, tmp_path):
    search = make_search(["60"], trials=1)

    def stop():
        while not (tmp_path / "rank=60,lr=0.1" / "calls").exists():
            time.sleep(0.02)
        search.launcher.running.stop.ask()

    threading.Thread(target=stop).start()
    with pytest.raises(SystemExit) as caught:
        search.run()
    assert caught.value.code == 143
    assert states(search) == [("60", TrialState.RUNNING, None)]
    assert json.loads((tmp_path / "rank=60,lr=0.1" / "job.json").read_text())["status"] == "stopped"
    again = make_search(["60"], trials=1)
    again.run()
    assert states(again) == [("60", TrialState.COMPLETE, [60.0])]


def test_an_objective_that_no_report_has_ends_the_search_at_once(make_search):
    search = make_search(["4", "5"], objectives=["beauty"], at_once=2)
    with pytest.raises(UserError, match="have no beauty"):
        search.run()
    assert len(states(search)) <= 2


def test_only_local_jobs_are_pruned(make_search, monkeypatch):
    monkeypatch.setattr(LocalProcesses, "prunes", False)
    with pytest.raises(UserError, match="only jobs on this machine"):
        make_search(["4"], prune=True).run()
