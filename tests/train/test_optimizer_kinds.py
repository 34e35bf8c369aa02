"""Optimizers in whole runs: what is measured and saved, what is recorded of the rate, and going on."""

import csv

import pytest

from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.evaluate.charts import draw_training_charts
from lorakiln.train.plan import list_warnings

ALL = {"checkpoint_every": 4, "save_every": 4, "validation": {"every": 2, "fraction": 0.3, "draws": 2}}
RUNS = {
    "schedule_free": {"kind": "schedule_free"},
    "prodigy": {"kind": "prodigy", "lr": 1.0, "d0": 1e-3},
    "adafactor": {"kind": "adafactor", "lr": 1.0, "relative_step": True},
    "muon": {"kind": "muon", "part_lrs": {"up_blocks": 2e-2}},
}


def read_rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_ends_as_the_uninterrupted_one(name, train_killed, train_micro, make_settings, read_files, capsys):
    settings = make_settings(optimizer=RUNS[name], scheduler={"warmup_steps": 2}, **ALL)
    train_killed(settings, at=6)
    out = train_micro(settings)
    assert "going on from the checkpoint after step 4" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(settings, "whole"))
    found = [float(row["effective_lr"]) for row in read_rows(out) if "effective_lr" in row]
    if name == "adafactor":
        assert found == pytest.approx([0.01] * 4)
    elif name == "prodigy":
        assert len(found) == 4 and found == sorted(found) and found[0] >= 1e-3
    else:
        assert not found


def test_looking_changes_nothing_and_sees_the_mean(train_micro, make_settings, tmp_path):
    """Schedule-free weights are validated and saved as their mean, and trained as they are."""
    seen = {**ALL, "validation": {"every": 3, "fraction": 0.3, "draws": 2}}
    watched = train_micro(make_settings(optimizer=RUNS["schedule_free"], **seen), "watched")
    unseen = {**seen, "save_every": 0, "validation": {**seen["validation"], "every": 1000}}
    alone = train_micro(make_settings(optimizer=RUNS["schedule_free"], **unseen), "alone")
    last = "adapters/step-00000012.safetensors"
    assert (watched / last).read_bytes() == (alone / last).read_bytes()

    (kept,) = (tmp_path / "cache/checkpoints").glob("*/step-00000012.safetensors")
    tensors = load_tensors(kept)[0]
    trained = {name.removeprefix("adapter/"): value for name, value in tensors.items() if name.startswith("adapter/")}
    saved = load_tensors(watched / last)[0]
    differing = 0
    for (name, y), x in zip(sorted(trained.items()), (saved[name] for name in sorted(saved)), strict=True):
        z = tensors[f"optimizer.z/{name}"][: y.numel()].view_as(y)  # as it lies in the vector, with what is between
        # y = (1 - beta1) z + beta1 x, arXiv 2405.15682.
        assert (0.1 * z + 0.9 * x - y).abs().max() < 1e-6
        differing += int(not x.equal(y))
    assert differing > len(trained) / 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimizer": {"kind": "prodigy", "lr": 1e-3}}, "prodigy finds its rate itself"),
        ({"optimizer": {"kind": "prodigy", "lr": 1.0}}, ""),
        ({"optimizer": {"kind": "adafactor", "lr": 1e-3, "relative_step": True}}, "usually train.optimizer.lr=1"),
        ({"optimizer": {"kind": "adafactor", "lr": 1e-3}}, ""),
        ({"optimizer": {"kind": "schedule_free"}, "scheduler": {"kind": "cosine"}}, "cosine makes it fall"),
        ({"optimizer": {"kind": "schedule_free"}, "scheduler": {"warmup_steps": 5}}, ""),
        ({}, ""),
    ],
)
def test_what_is_set_by_mistake_is_told(make_settings, changes, told):
    doubts = list_warnings(make_settings(**changes))
    assert (told in doubts[0]) if told else not doubts


def test_the_plan_draws_the_rate(train_micro, make_settings, capsys):
    train_micro(make_settings(optimizer=RUNS["prodigy"], scheduler={"kind": "linear", "warmup_fraction": 0.25}))
    said = capsys.readouterr()
    assert "rate        1 x what prodigy finds, linear, 3 warm-up steps\n              _-+#*++=:--.\n" in said.out
    assert "warning" not in said.err


def test_the_reports_chart_is_of_the_rate_that_was_found(tmp_path):
    charts = []
    for text in (
        "step,loss,lr,grad_norm,effective_lr\n1,1,1,1,1e-4\n2,1,1,1,3e-4\n",
        "step,loss,lr,grad_norm\n1,1,1e-4,1\n2,1,3e-4,1\n",
    ):
        (tmp_path / "metrics.csv").write_text(text)
        charts.append(draw_training_charts(tmp_path))
    assert charts[0] == charts[1] and "Learning rate" in [chart["title"] for chart in charts[0]]


@pytest.mark.parametrize("kind", ["prodigy", "dadapt_adam"])
def test_one_rate_for_all_is_not_two(make_settings, kind):
    with pytest.raises(
        ValueError, match=f"{kind} finds one rate for all weights, and adapter.rate_ratio 4 asks for two"
    ):
        make_settings(optimizer={"kind": kind, "lr": 1.0}, adapter={"rate_ratio": 4.0})
