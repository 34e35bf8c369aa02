"""What is written and told of a sweep's jobs, from reports without pictures."""

import json
import re

import pytest
import yaml

from lorakiln.sweep.base_models import collect_base_models
from lorakiln.sweep.caveats import list_caveats
from lorakiln.sweep.comparison import save_comparison
from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.objectives import orient_values, read_numbers, select_values
from lorakiln.sweep.plots import format_legend, plot_front, pyplot
from lorakiln.sweep.results import Result
from lorakiln.sweep.summary import sum_up
from lorakiln.sweep.table import choose_decimals, format_table
from tests.made_facts import run_facts
from tests.page_flaws import list_flaws


@pytest.fixture
def outcomes(tmp_path, write_report):
    """Three jobs with results, one pruned."""
    found = []
    for number, values in enumerate([(0.9, 20.0, 0.3), (0.8, 29.0, 0.1), (0.7, 25.0, 0.2)]):
        settings = {"paths": {}, "evaluate": {"quick": True}, "train": {"seed": number}}
        job = Job(number, (f"train.seed={number}",), tmp_path / str(number), f"seed={number}", settings)
        write_report(job.folder, *values)
        found.append(Outcome(job, "finished", 1.0))
    return [*found, Outcome(Job(3, (), tmp_path / "3", "seed=3", {}), "pruned", 1.0, "hopeless")]


def test_the_front_and_the_best_of_likeness_and_obedience(outcomes, tmp_path, capsys):
    values = sum_up(outcomes, tmp_path)
    assert values == {
        tmp_path / "0": (0.9, 20.0),
        tmp_path / "1": (0.8, 29.0),
        tmp_path / "2": (0.7, 25.0),
        tmp_path / "3": None,
    }
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert [(row["on_front"], row["best"]) for row in told["jobs"]] == [(True, False), (True, True), (False, False)]
    assert told["failed"] == [
        {"title": "seed=3", "folder": str(tmp_path / "3"), "status": "pruned", "reason": "hopeless"}
    ]
    page = (tmp_path / "sweep.html").read_text()
    assert "seed=3: pruned, hopeless" in page and list_flaws(page) == []
    output = capsys.readouterr().out
    assert "best: seed=1  (on the front, best mean rank in likeness and obedience)" in output
    # One that was pruned has not failed.
    assert "failed" not in output


@pytest.mark.parametrize(("objective", "best"), [("likeness", 0), ("validation_loss", 1)])
def test_of_a_search_for_one_thing_the_best_is_the_best_in_it(outcomes, tmp_path, capsys, objective, best):
    sum_up(outcomes, tmp_path, [objective])
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["best"] for row in told["jobs"]] == [number == best for number in range(3)]
    assert f"best: seed={best}  (by {objective})" in capsys.readouterr().out
    assert (tmp_path / "front.png").stat().st_size > 1000


def write_choice(folder, worth, headline="Use step 5.", state="good"):
    """What `choose` wrote of a job: one step at two weights, of which the second is recommended, or none."""
    parts = dict.fromkeys(("learned", "detail", "followed", "agreement", "whole"), 1.0) | {"copies": 0.0}
    measured = {"step": 5, "prompts": 8, "pictures": 16, "state": state, **parts}
    candidates = [
        {**measured, "weight": weight, "worth": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}}
        for weight, mean in ((0.6, worth + 0.3), (1.0, worth))
    ]
    use = {"step": 5, "weight": 1.0, "low": 1.0, "high": 1.0, "picture": ""} if state == "good" else None
    told = {"recommended": use, "headline": headline, "candidates": candidates}
    (folder / "choice").mkdir()
    (folder / "choice/choice.json").write_text(json.dumps(told))


def test_where_every_job_has_chosen_the_best_is_worth_most(outcomes, tmp_path, capsys):
    for number, worth in enumerate((0.2, 0.5)):
        write_choice(tmp_path / str(number), worth)
    sum_up(outcomes, tmp_path)
    assert "best: seed=1  (on the front" in capsys.readouterr().out  # one job's is not known
    write_choice(tmp_path / "2", 0.7)
    sum_up(outcomes, tmp_path)
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert told["best_by"] == ["worth"] and [row["worth"] for row in told["jobs"]] == [0.2, 0.5, 0.7]
    # The front is still that of likeness and obedience.
    assert [(row["on_front"], row["best"]) for row in told["jobs"]] == [(True, False), (True, False), (False, True)]
    output = capsys.readouterr().out
    assert "best: seed=2  (by worth)" in output and output.index("seed=2 ") < output.index("seed=1 ")
    assert "WARNING" not in output
    page = (tmp_path / "sweep.html").read_text()
    assert re.search(r"Best:\s+by worth\.", page)
    heads = re.findall(r'<th scope="col">(.*?)</th>', page)
    assert heads[:6] == ["job", "#", "likeness", "obedience", "worth", "front"] and heads.count("worth") == 1
    assert re.findall(r">seed=(\d)</a>", page) == ["2", "1", "0"]
    # What was asked for decides.
    sum_up(outcomes, tmp_path, ["likeness"])
    assert "best: seed=0  (by likeness)" in capsys.readouterr().out


def test_a_second_best_within_the_interval_of_the_worth_is_told(outcomes, tmp_path, capsys):
    for number, worth in enumerate((0.2, 0.65, 0.7)):
        write_choice(tmp_path / str(number), worth)
    sum_up(outcomes, tmp_path)
    assert "WARNING: the second best, job 1, lies within the best's 95% interval" in capsys.readouterr().out


def write_worth(folder, worth, usable=True):
    """What the report says of it."""
    path = folder / "report/metrics.json"
    entry = {"mean": worth, "low": worth - 0.1, "high": worth + 0.1, "usable": usable}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"worth": {"w0.00": {"mean": 0.0}, "w1.00": entry}}))


def test_without_a_choice_the_best_is_worth_most_by_its_report(outcomes, tmp_path, capsys):
    for number, worth in enumerate((0.2, 0.5, 0.9)):
        write_worth(tmp_path / str(number), worth, usable=number < 2)
    sum_up(outcomes, tmp_path)
    told = json.loads((tmp_path / "sweep.json").read_text())
    # What copies or is broken is worth nothing.
    assert told["best_by"] == ["worth"] and [row["worth"] for row in told["jobs"]] == [0.2, 0.5, 0.0]
    assert "best: seed=1  (by worth)" in capsys.readouterr().out


def test_a_choices_worth_and_a_reports_are_not_compared(outcomes, tmp_path, capsys):
    for number, worth in enumerate((0.2, 0.5, 0.7)):
        write_worth(tmp_path / str(number), worth)
    write_choice(tmp_path / "2", 0.8)
    sum_up(outcomes, tmp_path)
    assert "best: seed=1  (on the front, best mean rank in likeness and obedience)" in capsys.readouterr().out


def test_a_job_of_which_nothing_is_recommended_is_worth_nothing(tmp_path, write_report):
    write_report(tmp_path, likeness=0.7, obedience=30.0)
    assert "worth" not in read_numbers(tmp_path)[0]
    write_choice(tmp_path, 0.9, "No saved step can be recommended: 60% of the pictures copy", "memorised")
    assert read_numbers(tmp_path)[0]["worth"] == 0
    # Where that cannot be told, nobody knows what it is worth.
    told = json.loads((tmp_path / "choice/choice.json").read_text())
    (tmp_path / "choice/choice.json").write_text(json.dumps(told | {"can_tell": False}))
    assert "worth" not in read_numbers(tmp_path)[0]


def test_the_printed_command_can_be_pasted(outcomes, tmp_path, capsys):
    root = tmp_path / "my sweep, a=b"
    sum_up(outcomes, root)
    assert f"cp '{root}/best.yaml' conf/experiment/NAME.yaml" in capsys.readouterr().out


def test_the_best_settings_are_evaluated_in_full(outcomes, tmp_path):
    sum_up(outcomes, tmp_path)
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == {
        "evaluate": {"quick": None},
        "train": {"seed": "1", "repeats": 1},
    }


def results_of(tmp_path, write_report, reports, models=None):
    """Results with the given likeness, obedience and more, on the given base models."""
    found = []
    for number, report in enumerate(reports):
        folder = tmp_path / str(number)
        write_report(folder, **report)
        settings = {"evaluate": {}, "model": {"path": models[number] if models else "m"}}
        job = Job(number, (), folder, f"train.seed={number}", settings, own=(f"train.seed={number}",))
        found.append(Result.read(Outcome(job, "finished", 1.0)))
    return found


def test_jobs_on_several_base_models_each_have_their_own(tmp_path, write_report, capsys):
    reports = [{"likeness": 0.5, "obedience": 20.0}, {"likeness": 0.9, "obedience": 30.0}] * 2
    results = results_of(tmp_path, write_report, reports, ["sd15", "sdxl"] * 2)
    found = collect_base_models(results)
    assert [(base.title, base.places) for base in found] == [("base model sd15", [0, 2]), ("base model sdxl", [1, 3])]
    assert [base.values["image_similarity"] for base in found] == pytest.approx([0.4, 0.8])
    assert [base.title for base in collect_base_models(results[::2])] == ["base model"]
    # Other pictures or prompts: the same model with other numbers.
    for result in results:
        result.outcome.job.settings["model"]["path"] = "a/sd15"
    assert [base.title for base in collect_base_models(results)] == ["base model of 0, 2", "base model of 1, 3"]
    for number, result in enumerate(results):
        result.outcome.job.settings["model"]["path"] = ["a/sd15", "b/sdxl"][number % 2]
    sum_up([result.outcome for result in results], tmp_path)
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert [base["job"] for base in told["bases"]] == ["base model sd15", "base model sdxl"]
    assert "base model sdxl" in (tmp_path / "sweep.html").read_text()
    assert "base model sd15,,,,0.4,19.9" in (tmp_path / "sweep.csv").read_text().replace('"', "")


def test_each_base_stands_in_front_of_its_jobs_in_the_comparison(tmp_path, write_report, monkeypatch):
    reports = [{"likeness": value, "obedience": 20.0} for value in (0.5, 0.9, 0.5)]
    results = results_of(tmp_path, write_report, reports, ["sd15", "sdxl", "sd15"])
    rows = [{"prompt": "a cat", "seed": 0, "weight": at, "file_name": f"w{at:.0f}.png"} for at in (-2.0, 0.0, 1.0, 2.0)]
    for result in results:
        path = result.outcome.job.folder / "report/samples/metadata.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = []
    monkeypatch.setattr("lorakiln.sweep.comparison.save_grid", lambda grid, *_: drawn.append(grid))
    save_comparison(results, 0, tmp_path / "comparison.png")
    assert drawn[0].columns == ["base model sd15", "0: seed=0", "2: seed=2", "base model sdxl", "1: seed=1"]
    files = [cell.file_name.relative_to(tmp_path).as_posix() for cell in drawn[0].cells[0]]
    named = [file.replace("report/samples/", "") for file in files]
    assert named == ["0/w0.png", "0/w1.png", "2/w1.png", "1/w0.png", "1/w1.png"]


def test_a_comparison_of_other_jobs_is_not_left_behind(outcomes, tmp_path):
    (tmp_path / "comparison.png").write_text("old")
    sum_up(outcomes, tmp_path)
    assert not (tmp_path / "comparison.png").exists()


def test_numbers_have_the_digits_that_tell_them_apart():
    assert choose_decimals("likeness", [0.9, 0.8]) == 3 and choose_decimals("obedience", [20.0, 20.0]) == 2
    assert choose_decimals("likeness", [0.04146, 0.04149]) == 5
    assert choose_decimals("other", [0.1, 0.1 + 1e-9]) == 4


def test_the_base_is_a_row_and_the_stars_are_explained():
    rows = [
        {"number": 0, "job": "rank=4", "likeness": 0.0411, "obedience": 20.0, "on_front": True, "best": True},
        {"number": 1, "job": "rank=8", "likeness": 0.0409, "obedience": 20.0, "on_front": False, "best": False},
    ]
    text = format_table(rows, [{"job": "base model", "likeness": 0.041, "obedience": 19.0}], ["likeness"])
    assert text.splitlines() == [
        "#  job         likeness  obedience  front",
        "0  rank=4        0.0411      20.00  **",
        "   base model    0.0410      19.00",
        "1  rank=8        0.0409      20.00",
        "",
        "**  the best",
    ]
    rows[0]["validation_loss"], rows[1]["validation_loss"] = 0.2, 0.1
    by_loss = format_table(rows, [{"job": "base model", "likeness": 0.041, "obedience": 19.0}], ["validation_loss"])
    assert [line.split()[1] for line in by_loss.splitlines()[1:4]] == ["rank=8", "rank=4", "model"]


@pytest.mark.parametrize(
    ("first", "second", "objectives", "said"),
    [
        ({"step": 0.1, "spread": 0.01}, {"likeness": 0.4}, ["likeness"], []),
        ({"step": 0.1, "spread": 0.2}, {"likeness": 0.2}, ["likeness"], ["in likeness the best job cannot be told"]),
        ({"step": -0.1, "spread": 0.01}, {"likeness": 0.4}, ["likeness"], ["the base model has more likeness"]),
        ({"step": 0.1, "spread": 0.05}, {"likeness": 0.46}, ["likeness"], ["the second best, job 1, lies within"]),
        ({"step": 0.1, "spread": 0.01}, {"likeness": 0.495}, ["likeness", "obedience"], []),
        ({"step": 0.1}, {"likeness": 0.5}, ["likeness"], []),
        ({"step": -9.0, "spread": 0.01}, {"likeness": 0.4}, ["validation_loss"], []),
    ],
)
def test_a_best_that_may_be_chance_is_told(tmp_path, write_report, first, second, objectives, said):
    reports = [{"likeness": 0.5, "obedience": 20.0, "validation_loss": 0.1, **first}, {"obedience": 10.0, **second}]
    results = results_of(tmp_path, write_report, reports)
    points = [orient_values(select_values(one.values, objectives), objectives) for one in results]
    found = list_caveats(results, points, 0, objectives)
    assert len(found) == len(said) and all(text.startswith(start) for text, start in zip(found, said, strict=True))


def test_points_bear_numbers_and_long_settings_are_listed_below(tmp_path, write_report, monkeypatch):
    reports = [{"likeness": 0.5, "obedience": 20.0}] * 2 + [{"likeness": 0.9, "obedience": 10.0}]
    results = results_of(tmp_path, write_report, reports)
    long = tuple(f"train.key{n}=" + "x" * 60 for n in range(4))
    object.__setattr__(results[2].outcome.job, "own", long)
    lines = format_legend(results, [0])
    assert lines[0] == "0  seed=0" and len(lines) == 4 and max(map(len, lines)) <= 118
    seen = []
    monkeypatch.setattr(pyplot, "close", seen.append)
    plot_front(results, [0, 1, 2], 0, tmp_path / "front.png")
    axes = seen[0].axes[0]
    # Equal points share a label.
    assert [text.get_text() for text in axes.texts] == ["0-1", "2"]
    frame, whole = axes.get_tightbbox(), seen[0].bbox
    for text in (*axes.texts, *seen[0].texts):
        box = text.get_window_extent()
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1
    assert all(text.get_window_extent().y1 < frame.y0 for text in seen[0].texts)


def test_what_each_training_took_stands_in_the_table(outcomes, tmp_path, capsys):
    """The second job went on from step 20 of 60 here, and the third is of a version that told none of it."""
    told = {"steps_per_second": 4.0, "steps_here": 40, "peak_memory": 3 * 2**29}
    for number in (0, 1):
        run = outcomes[number].job.folder / "run"
        run_facts(step=60, parameters=1000 + number).write(run / "facts.json")
        (run / "provenance.json").write_text(json.dumps(told))
    sum_up(outcomes, tmp_path)
    rows = json.loads((tmp_path / "sweep.json").read_text())["jobs"]
    assert [row["parameters"] for row in rows[:2]] == [1000, 1001]
    assert {(row["training_seconds"], row["peak_memory_gib"]) for row in rows[:2]} == {(15.0, 1.5)}
    assert "parameters" not in rows[2]
    table = capsys.readouterr().out
    assert re.search(r"obedience +parameters +training_seconds +peak_memory_gib +front$", table, re.MULTILINE)
    assert re.search(r"seed=0 +0\.900 +20\.00 +1000 +15\.0 +1\.50", table)


def test_shares_of_right_pictures_stand_in_the_terminals_table(outcomes, tmp_path, capsys):
    question = {"name": "style", "answer": "ink", "labels": ["ink", "oil"]}
    for outcome in outcomes[:3]:
        outcome.job.settings["evaluate"] |= {"prompts": ["a"], "seeds": [0], "weights": [0, 1], "classify": [question]}
        path = outcome.job.folder / "report/metrics.json"
        share = {"w0.00": {"mean": 0.1}, "w1.00": {"mean": 0.9, "difference": 0.8}}
        path.write_text(json.dumps({**json.loads(path.read_text()), "right_style": share}))
    sum_up(outcomes, tmp_path)
    table = capsys.readouterr().out
    assert re.search(r"^ *# +job +likeness +obedience +right_style +front$", table, re.MULTILINE)
    assert re.search(r"seed=0 +0\.900 +20\.00 +0\.9000", table)
