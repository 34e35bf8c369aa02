"""What all benchmarks count with, against closed forms."""

import json
import os
import statistics
import sys
from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.command import make_parser
from benchmarks.rounds import (
    Cost,
    Result,
    collect_costs,
    compare_rounds,
    divide_work,
    interleave,
    measure_pairs,
    run_measured,
    spread,
)


def test_a_programs_costs_are_its_own_and_its_childrens(tmp_path):
    child = (
        "x = bytearray(60 << 20)\nimport time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    )
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    cost = run_measured([sys.executable, "-c", program], tmp_path, tmp_path / "log")
    assert 0.3 <= cost.cpu < 30
    assert cost.wall >= 0.3
    assert cost.peak >= 60
    assert cost.others >= 0


def test_a_program_that_fails_ends_the_benchmark_with_what_it_said(tmp_path):
    with pytest.raises(SystemExit, match="(?s)no such picture.*ended with 3"):
        run_measured([sys.executable, "-c", "print('no such picture'); exit(3)"], tmp_path, tmp_path / "log")


def test_a_program_has_one_thread_no_network_and_this_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    run_measured([sys.executable, "-c", code], tmp_path, tmp_path / "log", {"SAID": "yes"})
    found = json.loads((tmp_path / "log").read_text())
    assert (found["OMP_NUM_THREADS"], found["HF_HUB_OFFLINE"], found["SAID"]) == ("1", "1", "yes")
    assert found["PYTHONPATH"].split(os.pathsep) == [str(rounds.ROOT / "src"), str(rounds.ROOT)]


def test_busy_seconds_are_those_of_all_cores_without_idle_and_waiting(tmp_path):
    stat = tmp_path / "stat"
    # user nice system idle iowait irq softirq steal guest guest_nice; a guest's time is in user's already.
    stat.write_text("cpu  100 20 30 9999 8888 1 2 47 60 6\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert rounds.read_busy_seconds(stat) == 200 / os.sysconf("SC_CLK_TCK")


def test_every_program_has_each_place_of_the_order_equally_often():
    order = list(interleave(["a", "b", "c"], range(3)))
    assert [number for number, _ in order] == [0] * 3 + [1] * 3 + [2] * 3
    for place in range(3):
        assert {name for number, name in order[place::3]} == {"a", "b", "c"}


def test_a_spread_is_median_least_and_most():
    assert spread([3.0, 1.0, 2.5]) == "2.50 (1.00 to 3.00)"
    assert spread([2.0], 0) == "2"
    assert spread([]) == "-"


def test_ratios_are_made_within_a_round():
    mine, theirs = {0: 1.0, 1: 2.0, 2: 5.0, 3: -0.1}, {0: 2.0, 1: 1.0, 3: 1.0}
    assert compare_rounds(mine, theirs) == [2.0, 0.5]


def test_a_longer_run_less_a_shorter_one_is_what_the_steps_cost():
    assert Cost(9.0, 7.0, 500.0, 0.5) - Cost(4.0, 3.0, 480.0, 0.1) == Cost(5.0, 4.0, 500.0, 0.5)


def make_result(others: float) -> Result:
    made = Result("x", {"rounds": 3}, ["program", "s"], [["ours", "1.0"]])
    for number in range(3):
        made.add(Cost(1.0, 0.5, 100.0, others), program="ours", round=number)
    return made


def test_the_load_is_told_and_warned_of_where_it_spoils_the_walls():
    cores = os.cpu_count()
    assert "Warning" not in make_result(0.05 * cores).tell_load()
    told = make_result(0.5 * cores).tell_load()
    assert "Warning" in told and f"{0.5 * cores:.1f}" in told


def test_a_result_keeps_the_table_all_measurements_and_no_name_of_the_machine(tmp_path, capsys):
    make_result(0.0).write(tmp_path / "new" / "x.json")
    kept = json.loads((tmp_path / "new" / "x.json").read_text())
    assert [record["round"] for record in kept["records"]] == [0, 1, 2]
    assert statistics.median(record["cpu"] for record in kept["records"]) == 0.5
    assert "| ours | 1.0 |" in capsys.readouterr().out
    text = (tmp_path / "new" / "x.json").read_text()
    assert os.uname().nodename not in text and str(tmp_path) not in text and str(Path.home()) not in text


def test_results_go_to_the_folder_of_results_unless_told_otherwise(capsys):
    assert make_parser("Doc.", "x").parse_args([]).out == rounds.ROOT / "benchmarks" / "results" / "x.json"
    assert make_parser("Doc.", "x").parse_args(["--out", "y.json"]).out == Path("y.json")


def test_more_rounds_are_added_to_those_of_the_same_settings(tmp_path):
    first, second = make_result(0.0), Result("x", {"rounds": 3}, ["program", "s"])
    first.write(tmp_path / "x.json")
    assert list(second.list_rounds(2)) == [0, 1]
    second.read_earlier(tmp_path / "x.json")
    assert second.records == first.records
    assert list(second.list_rounds(2)) == [3, 4]


@pytest.mark.parametrize(("settings", "told"), [({"rounds": 4}, "other settings"), (None, "not there")])
def test_rounds_of_other_settings_are_not_added_to(tmp_path, settings, told):
    if settings:
        make_result(0.0).write(tmp_path / "x.json")
    with pytest.raises(SystemExit, match=f"(?s){told}.*fix: "):
        Result("x", settings or {}).read_earlier(tmp_path / "x.json")


def test_costs_are_collected_by_program_and_round():
    made = Result("x", {})
    made.add(Cost(1.0, 0.5, 9.0, 0.0), program="a", round=0, steps=2)
    made.add(Cost(3.0, 1.5, 9.0, 0.1), program="a", round=0, steps=8)
    short, long = (collect_costs(made.records, steps=steps) for steps in (2, 8))
    assert long == {"a": {0: Cost(3.0, 1.5, 9.0, 0.1)}}
    assert divide_work(short, long, (2, 8), "cpu") == {"a": {0: pytest.approx(1 / 6)}}
    assert divide_work(short, long, (2, 8), "wall") == {"a": {0: pytest.approx(2 / 6)}}


def test_pairs_alternate_which_comes_first():
    order = []
    measure_pairs(["a", "b"], range(4, 6), (1, 9), lambda *called: order.append(called))
    assert order == [("a", 1, 4), ("a", 9, 4), ("b", 1, 4), ("b", 9, 4)] + [
        ("b", 9, 5),
        ("b", 1, 5),
        ("a", 9, 5),
        ("a", 1, 5),
    ]
