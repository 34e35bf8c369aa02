"""The table of DVC's experiments."""

import io

from rich.console import Console

from pipelines.experiments import format_table, read_rows

COMMON = ["train.steps=2", "evaluate.prompts=[a]"]


def revision(overrides, rank, scores=None, experiment="smoke"):
    """A revision as `dvc exp show --json` tells it."""
    files = {
        "params.yaml": {"data": {"experiment": experiment, "dataset": "", "overrides": overrides}},
        "outputs/resolved.yaml": {"data": {"train": {"adapter": {"rank": rank}, "steps": 2}}},
    }
    metrics = {"outputs/report/scores.json": {"data": scores}} if scores else {}
    return {"rev": "0123456789abcdef", "name": None, "data": {"params": files, "metrics": metrics}}


def experiment(name, state, *told, **more):
    return {"name": name, "revs": [revision(*told, **more)], "executor": {"state": state} if state else None}


SHOWN = [
    {
        **revision([], 4, {"likeness": 0.25, "obedience": 30.0}),
        "name": "main",
        "experiments": [
            experiment("first", "Success", [*COMMON, "train.adapter.rank=8"], 8, {"likeness": 0.5, "obedience": 29.0}),
            # What DVC tells of the settings and scores of these are those of the commit.
            experiment("second", "Queued", [*COMMON, "train.adapter.rank=2"], 4, {"likeness": 0.25, "obedience": 30.0}),
            experiment("third", "Queued", COMMON, 4, experiment="character_r16"),
        ],
    }
]


def lines(shown, width=80):
    text = io.StringIO()
    Console(file=text, width=width).print(format_table(list(read_rows(shown))))
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def test_queued_experiments_are_told_apart_by_what_was_asked():
    assert lines(SHOWN) == [
        "experiment state likeness obedience what sets it apart",
        "main 0.2500 30.0000 experiment=smoke",
        "first success 0.5000 29.0000 experiment=smoke train.adapter.rank=8",
        "second queued - - experiment=smoke train.adapter.rank=2",
        "third queued - - experiment=character_r16",
    ]


def test_an_edit_of_conf_is_told_where_the_same_was_asked():
    edited = [
        {
            **revision([], 4),
            "experiments": [experiment("a", None, COMMON, 4), experiment("b", "Success", COMMON, 16)],
        }
    ]
    assert lines(edited)[2:] == ["a done - - train.adapter.rank=4", "b success - - train.adapter.rank=16"]


def test_it_fits_a_terminal_and_loses_nothing():
    long = [f"evaluate.prompts=[{'x' * 60}]", f"caption.trigger={'y' * 60}"]
    shown = [{**SHOWN[0], "experiments": [experiment("a", "Queued", long, 4), *SHOWN[0]["experiments"]]}]
    text = io.StringIO()
    Console(file=text, width=80).print(format_table(list(read_rows(shown))))
    assert max(len(line.rstrip()) for line in text.getvalue().splitlines()) <= 80
    assert text.getvalue().count("x") >= 60 and text.getvalue().count("y") >= 60
