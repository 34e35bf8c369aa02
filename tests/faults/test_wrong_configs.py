"""What does not compose is told in one message by both doors, and what holds a key leaves no trace on the disk."""

import shutil
from pathlib import Path

import pytest
import yaml

from lorakiln.console.errors import UserError, exit_on_user_error
from pipelines import compose

ROOT = Path(__file__).parents[2]
TOKEN = "hf_AnotherTokenThatNobodyPlanted00"
BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
FILES = {
    "cut": (b"train: [", "not readable as YAML"),
    "encoding": (b'# @package _global_\ntrain: {seed: "\xff"}', "is not UTF-8"),
    "twice": (b"# @package _global_\ntrain: {seed: 1, seed: 2}", "the key 'seed' is there twice"),
    "tags": (b"train: !!python/object/apply:os.mkdir [owned]", "could not determine a constructor"),
    "aliases": (BOMB.encode(), "aliases"),
    "defaults": (b"defaults: [[1]]", "cannot compose"),
    "itself": (b"defaults: [/experiment/mine]", "lead to themselves"),
    "hydra": (b"# @package _global_\nhydra: 5", "cannot compose"),
    "interpolation": (b'# @package _global_\ntrain: {seed: "${nope}"}\nprepare: {dataset: a}', "'nope' not found"),
}


@pytest.fixture
def conf(tmp_path):
    return shutil.copytree(ROOT / "conf", tmp_path / "conf")


def second_door(programs, folder, *arguments):
    """Exit status and output."""
    return programs.start("train", folder, ("hydra.run.dir=run", "hydra.sweep.dir=run", *arguments)).wait()


@pytest.mark.parametrize("kind", FILES)
def test_files(programs, tmp_path, conf, monkeypatch, kind):
    content, message = FILES[kind]
    monkeypatch.chdir(tmp_path)
    (conf / "experiment" / "mine.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        compose.compose_config(["+experiment=mine"], conf)
    status, printed = second_door(programs, tmp_path, "+experiment=mine", "--config-path", str(conf))
    assert status == 1 and message in printed and printed.startswith("error: ") and "Traceback" not in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train.seed=${nope}"],
        ["train.seed=${train.seed}"],
        ["train.seed=${"],
        ["~train"],
        ["train.tracker=5"],
        ["+experiment=nope"],
        ["a=b=c"],
        ["hydra.run.dir=${nope}"],
        ["train.steps=1,2"],
        ["train.seed=${nope}", "-m"],
        ["--multirun", "--cfg", "job"],
    ],
    ids=" ".join,
)
def test_the_second_doors_command_line(programs, tmp_path, arguments):
    status, printed = second_door(programs, tmp_path, "+experiment=smoke", *arguments)
    assert status == 1 and printed.count("error: ") == 1 and "Traceback" not in printed, printed
    assert not (tmp_path / "run" / ".hydra").exists()


@pytest.mark.parametrize(
    "params",
    [
        {"overrides": ["~train"]},
        {"overrides": ["train=5"]},
        {"overrides": ["train.tracker=5"]},
        {"overrides": ["~train.tracker"]},
        {"overrides": ["train.tracker.group=[1]"]},
        {"experiment": [1]},
        {1: 2, "a": 3},
        {"dataset": {"a": 1}},
    ],
    ids=str,
)
def test_params(tmp_path, monkeypatch, capsys, conf, params):
    monkeypatch.chdir(tmp_path)
    good = yaml.safe_load((ROOT / "params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**good, "experiment": "smoke", **params}))
    assert exit_on_user_error(compose.main) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [f"+train.tracker.key={TOKEN}"],
        [f"train.tracker.key={TOKEN}"],
        [f"train.tracker.project={TOKEN}"],
        [f"hydra.run.dir=run/{TOKEN}"],
        [f"train.tracker.project={TOKEN},b", "-m"],
        [f"hydra.sweep.subdir={TOKEN}", "train.seed=1,2", "-m"],
    ],
    ids=lambda arguments: " ".join(arguments).replace(TOKEN, "TOKEN"),
)
def test_a_key_on_the_command_line_is_written_nowhere(programs, tmp_path, arguments):
    status, printed = second_door(programs, tmp_path, "+experiment=smoke", *arguments)
    assert status == 1 and "Traceback" not in printed and TOKEN not in printed
    assert not list(tmp_path.iterdir())


def test_a_key_that_a_sweeps_job_would_fetch(programs, tmp_path):
    project = "train.tracker.project='${train.tracker.entity}" + TOKEN.removeprefix("hf_") + "'"
    status, printed = second_door(
        programs,
        tmp_path,
        "+experiment=smoke",
        "train.tracker.entity=hf_",
        project,
        "train.seed=1,2",
        f"paths.raw={ROOT / 'data/raw'}",
        "-m",
    )
    assert status == 1 and "Traceback" not in printed and TOKEN not in printed, printed
    assert "holds a Hugging Face token" in printed
    assert not any(TOKEN in path.read_text() for path in (tmp_path / "run").rglob("*") if path.is_file())
