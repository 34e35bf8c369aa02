"""`python -m train` with no account: what the whole run's record holds, from the group to the report."""

import os
import subprocess
from pathlib import Path

import pytest

from lorakiln.artefacts.json_files import read_json
from tests.tracking.recorded import Recorded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(tmp_path, preloaded):
    """Run the command; what it printed to stderr."""
    return lambda *overrides: train_in(tmp_path, preloaded, *overrides)


def train_in(folder, programs, *overrides):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "NETRC": str(folder / "netrc"),
        "WANDB_DIR": str(folder),
        "WANDB_X_SAVE_REQUIREMENTS": "false",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [
            str(programs / "python"),
            "-m",
            "train",
            "+experiment=smoke",
            f"paths.cache={folder}/cache",
            "evaluate.weights=[0,0.8]",
            *overrides,
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_one_record_from_the_group_to_the_report(tmp_path, train):
    told = train("export.which=best", f"hydra.run.dir={tmp_path}/today")
    assert "Images sizes do not match" not in told and told.count("wandb sync") == 2
    found, record = Recorded(tmp_path), read_json(tmp_path / "today/run/tracker.json")
    run, step = record["id"], read_json(tmp_path / "today/lora/facts.json")["step"]
    assert (found.runs[run]["group"], found.runs[run]["name"]) == ("smoke", "smoke today")
    config = found.runs[run]["config"]
    stages = {"prepare", "caption", "encode", "model", "train", "export", "evaluate"}
    assert stages | {"git", "dataset", "dataset_version", "base"} <= set(config)
    assert config["evaluate"]["weights"] == [0, 0.8]
    rows = [row for row in found.history[run] if any(key.startswith(("evaluate/", "export/")) for key in row)]
    shown = {key.partition("/_type")[0] for row in rows for key in row if key.endswith("/_type")}
    assert {"evaluate/grids/weights", "evaluate/grids/seeds", "evaluate/grids/trigger", "export/previews"} == shown
    # Previews are those drawn nearest to the adapter's step, which may be others.
    assert {row["step"] for row in rows if any(key.startswith("evaluate/") for key in row)} == {step}
    assert all(row["step"] > 0 for row in rows)
    metrics = read_json(tmp_path / "today/report/metrics.json")
    (scores,) = [row for row in rows if "evaluate/likeness" in row]
    assert scores["evaluate/likeness"] == metrics["image_similarity"]["w0.80"]["mean"]
    assert scores["evaluate/clip_score/w0.80/mean"] == scores["evaluate/obedience"]
    kinds = {(kind, name): (set(aliases), names) for _, kind, name, aliases, _, names in found.artifacts}
    assert kinds["report", "demo_style-report"] == ({"latest"}, {"metrics.json", "report.html"})
    assert kinds["lora", "demo_style-lora"] == ({"latest", "best"}, {"demo_style.safetensors"})
    assert ("dataset", "demo_style-dataset") in kinds


def test_what_stays_at_home_is_in_no_record(tmp_path, train):
    words = ("caption.trigger=SECRETWORD", "train.samples.prompts=[SECRETPROMPT]", "evaluate.prompts=[SECRETTEST]")
    train("train.tracker.upload_images=false", *words, f"hydra.run.dir={tmp_path}/today")
    files = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" and "dataset-" in path.name for path in files)
    assert not [path for path in files if b"SECRET" in path.read_bytes()]


def test_a_sweep_is_one_group_of_named_runs_with_one_dataset(tmp_path, train):
    train(
        "train.adapter.rank=2,4",
        "train.samples.every=0",
        "evaluate.prompts=['a cat, {trigger}']",
        f"hydra.sweep.dir={tmp_path}/f1",
        "-m",
    )
    runs = Recorded(tmp_path).runs
    jobs = {name: told for name, told in runs.items() if not name.startswith("dataset-")}
    assert {told["group"] for told in jobs.values()} == {"smoke f1"}
    assert {told["name"] for told in jobs.values()} == {"rank=2", "rank=4"}
    assert len(runs) == 3 and len(list((tmp_path / "wandb").glob("offline-run-*-dataset-*"))) == 1


def test_jobs_that_share_a_training_train_it_once_and_have_a_run_each(tmp_path, train):
    """Two at a time: what differs in no weight, or in the number of steps alone, shares a folder of checkpoints."""
    train(
        "caption=none",
        "train.steps=3,6",
        "export.strength=0.5,1",
        "train.samples.every=0",
        "train.tracker.log_every=1",
        "evaluate.prompts=['a cat, {trigger}']",
        "evaluate.seeds=[0]",
        f"hydra.sweep.dir={tmp_path}/f1",
        "hydra.launcher.jobs=2",
        "-m",
    )
    folders = [path.parent for path in (tmp_path / "f1").glob("*/job.json")]
    jobs = sorted(folders, key=lambda folder: read_json(folder / "job.json")["own"][::-1])
    assert [read_json(job / "job.json")["status"] for job in jobs] == ["finished"] * 4
    logs = [(job / "job.log").read_text() for job in jobs]
    assert sum("trained 3 steps" in log for log in logs) == sum("trained 6 steps" in log for log in logs) == 1
    assert sum("training: reusing" in log for log in logs) == 2
    found, ids = Recorded(tmp_path), [read_json(job / "run/tracker.json")["id"] for job in jobs]
    assert [found.runs[name]["name"] for name in ids] == [
        f"steps={steps} strength={strength}" for strength in ("0.5", "1") for steps in (3, 6)
    ]
    for job, name, steps in zip(jobs, ids, (3, 6, 3, 6), strict=True):
        rows = found.history[name]
        assert [row["step"] for row in rows if "loss" in row] == list(range(1, steps + 1))
        assert [row["step"] for row in rows if "validation_loss" in row] == list(range(0, steps + 1, 3))
        assert [row["step"] for row in rows if "evaluate/likeness" in row] == [steps]
        assert read_json(job / "lora/facts.json")["step"] == steps
