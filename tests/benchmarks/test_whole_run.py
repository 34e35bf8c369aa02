"""A whole run by stage: what stands in the place of `python`, what is changed, the table, and the first door once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from benchmarks.whole_run import COSTS, HEAD, STAGES, SWEEP_DOOR, Checkout, make_rows

STARTER = Path("benchmarks/stage_costs.py").resolve()


def run_starter(folder: Path, *words: str, status: int = 0) -> list[dict]:
    """Run words as `python` in a folder; the costs that were told."""
    costs = folder / "costs.jsonl"
    environment = {**os.environ, COSTS: str(costs), "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, STARTER, *words], cwd=folder, env=environment, check=False)
    assert done.returncode == status
    return [json.loads(line) for line in costs.read_text().splitlines()] if costs.exists() else []


def test_a_stage_in_a_process_of_its_own_counts_whole_and_keeps_its_status(tmp_path):
    (tmp_path / "pipelines").mkdir()
    work = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\nraise SystemExit(3)"
    (tmp_path / "pipelines" / "encode.py").write_text(work)
    (told,) = run_starter(tmp_path, "-m", "pipelines.encode", status=3)
    assert told["stage"] == "encode" and 0.2 <= told["cpu"] < 20


def test_the_second_door_tells_of_each_stage_and_runs_as_it_is(tmp_path):
    (tmp_path / "lorakiln").mkdir()
    stage = "class Stage:\n  name = 'prepare'\n  def run(self, *given): open(given[0], 'w').write('ran')\n"
    (tmp_path / "lorakiln" / "__init__.py").touch()
    (tmp_path / "lorakiln" / "chain.py").write_text(stage)
    door = "import sys\nfrom lorakiln.chain import Stage\nStage().run(sys.argv[1])\nassert __name__ == '__main__'\n"
    (tmp_path / "train.py").write_text(door)
    (told,) = run_starter(tmp_path, "-m", "train", "made.txt")
    assert told["stage"] == "prepare" and told["cpu"] >= 0
    assert (tmp_path / "made.txt").read_text() == "ran"


def test_other_programs_are_pythons_own(tmp_path):
    assert run_starter(tmp_path, "-c", "import sys; sys.exit(5)", status=5) == []


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("whole_run"), "smoke", [])


def test_the_copy_is_a_clean_repository_without_what_was_made(checkout):
    shown = subprocess.run(["git", "status", "-s"], cwd=checkout.folder, capture_output=True, text=True, check=True)
    assert shown.stdout == ""
    assert (checkout.folder / "dvc.yaml").exists() and (checkout.folder / "models" / "tiny" / "sd").is_dir()
    assert not any(
        (checkout.folder / name).exists() for name in ("dvc.lock", ".venv", "cache", "outputs/resolved.yaml")
    )
    same = "benchmarks/whole_run.py"
    assert (checkout.folder / same).read_bytes() == Path(same).read_bytes()


@pytest.mark.parametrize("what", ["caption", "picture"])
def test_a_change_is_of_one_file_and_another_each_time(checkout, what):
    pictures = checkout.folder / "data" / "raw" / "demo_style"
    states = []
    for number in (1, 2):
        before = {path.name: path.read_bytes() for path in pictures.iterdir()}
        checkout.change(what, number)
        after = {path.name: path.read_bytes() for path in pictures.iterdir()}
        (name,) = {name for name in after if after[name] != before.get(name)}
        assert name.endswith(".txt" if what == "caption" else ".png")
        states.append((name, after[name]))
        if name.endswith(".png"):
            (tmp := pictures.parent.parent / "before.png").write_bytes(before[name])
            old, new = (Image.open(path).convert("RGB") for path in (tmp, pictures / name))
            assert old.size != new.size or ImageChops.difference(old, new).getbbox()
    assert states[0][0] == states[1][0] and states[0][1] != states[1][1]


def test_a_changed_setting_takes_the_place_of_the_one_before(checkout):
    checkout.change("training", 1)
    checkout.change("evaluation", 1)
    checkout.change("training", 2)
    assert checkout.overrides == ["evaluate.guidance=4.501", "train.max_grad_norm=0.902"]
    checkout.overrides = []


def test_what_is_no_stages_stands_in_a_column_of_its_own():
    record = {"door": "dvc repro", "what": "fresh", "wall": 20.0, "cpu": 10.0, "peak": 300.0, "stages": {"train": 6.0}}
    (row,) = make_rows([{**record, "round": 0}])
    assert row == [
        "dvc repro",
        "fresh",
        "10.0",
        "20.0",
        "300",
        *("6.0" if s == "train" else "-" for s in STAGES),
        "4.0",
    ]
    # The jobs of a sweep are processes that nobody watches.
    (row,) = make_rows([{**record, "door": SWEEP_DOOR, "stages": {}, "round": 0}])
    assert row[-1] == "-" and row[2] == "10.0"


def test_the_first_door_runs_fresh_again_and_with_nothing_to_do(run_benchmark):
    words = ["--experiment", "smoke", "--doors", "dvc", "--changes", "picture", "--until", "prepare"]
    result, _ = run_benchmark("whole_run", *words)
    stages = {record["what"]: set(record["stages"]) for record in result["records"]}
    both = {"compose", "prepare"}
    assert stages == {"fresh": both, "again": set(), "nothing to do": both, "another picture": {"prepare"}}
    assert result["head"] == HEAD
