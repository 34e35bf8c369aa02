"""A stage killed at any moment leaves its old output or its new one, whole, and a second run finishes the job."""

import shutil
import signal
import time

import numpy as np
import pytest
import yaml

from tests.faults.conftest import ROOT, STAGES, paint, run_all


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(outputs):
    """What lies hidden beside outputs, but for the records of what they were made of."""
    return [path.name for path in outputs.glob(".*") if path.suffix != ".made"]


# What makes the new output of a stage differ from the old one; the first three see other pictures.
CHANGES = {"export": ("precision", "fp32"), "evaluate": ("steps", 3)}


@pytest.mark.parametrize("stage", ["prepare", "caption", "encode"])
def test_old_or_new_and_whole(programs, stages, stage):
    until = list(STAGES)[: list(STAGES).index(stage)]
    old = contents(stages / "outputs" / STAGES[stage])
    paint(stages / "raw" / "mine", 1)
    run_all(programs, stages, until)
    killed_at_random(programs, stages, stage, old)


@pytest.mark.parametrize("stage", CHANGES)
def test_what_comes_after_training_too(programs, stages, stage):
    old = contents(stages / "outputs" / STAGES[stage])
    resolved = stages / "outputs" / "resolved.yaml"
    config = yaml.safe_load(resolved.read_text())
    name, value = CHANGES[stage]
    config[stage][name] = value
    resolved.write_text(yaml.safe_dump(config))
    killed_at_random(programs, stages, stage, old)


def killed_at_random(programs, stages, stage, old):
    """Run the stage and kill it, eight times; each leaves `old` or what a run left alone leaves."""
    out = stages / "outputs" / STAGES[stage]
    began = time.monotonic()
    run_all(programs, stages, [stage])
    duration = time.monotonic() - began
    new = contents(out)
    assert old != new
    seen = set()
    for moment in np.random.default_rng(0).uniform(0, 1.2 * duration, 8):
        shutil.rmtree(out)
        write(out, old)
        job = programs.start(f"pipelines.{stage}", stages)
        time.sleep(moment)
        job.kill()
        job.wait()
        found = contents(out)
        assert found in (old, new)
        seen.add(found == new)
        run_all(programs, stages, [stage])
        assert contents(out) == new
        assert not leftovers(stages / "outputs")
    # Else the moments would show nothing.
    assert False in seen


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_report_goes_on_where_its_drawing_was_stopped(programs, stages, number):
    report = stages / "outputs" / "report"
    old = contents(report)
    resolved = stages / "outputs" / "resolved.yaml"
    config = yaml.safe_load(resolved.read_text())
    resolved.write_text(yaml.safe_dump(config | {"evaluate": config["evaluate"] | {"seeds": [5, 6, 7]}}))
    job = programs.start("pipelines.evaluate", stages, pause="lorakiln.evaluate.drawing:save_picture", count=4)
    status, printed = job.kill_when_paused(number)
    assert status == {signal.SIGKILL: -number}.get(number, 128 + number), printed
    # The old report is still there, whole; what was drawn is beside it.
    assert contents(report) == old and len(list(report.parent.glob(".report.kept/*.png"))) == 3
    status, printed = programs.start("pipelines.evaluate", stages).wait()
    assert status == 0 and "evaluate: 9 pictures drawn, 3 already there" in printed, printed
    assert not leftovers(report.parent)
    new = contents(report)
    shutil.rmtree(report)
    run_all(programs, stages, ["evaluate"])
    assert contents(report) == new


def test_compose_leaves_its_old_output_or_its_new_one(programs, tmp_path):
    for name in ("conf", "models"):  # the base is looked at, too
        (tmp_path / name).symlink_to(ROOT / name)
    params, out = {"experiment": "smoke", "dataset": "demo_style"}, tmp_path / "outputs" / "resolved.yaml"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    run_all(programs, tmp_path, ["compose"])
    old = out.read_text()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**params, "overrides": ["train.steps=7"]}))
    # Written aside, and not yet on the disk; on the disk, without its name; in its place.
    places = [("sync_file", False), ("os.replace", False), ("sync_names", True)]
    for place, replaced in places:
        out.write_text(old)
        job = programs.start("pipelines.compose", tmp_path, pause=f"lorakiln.artefacts.json_files:{place}")
        assert job.kill_when_paused(signal.SIGKILL)[0] == -signal.SIGKILL
        assert (out.read_text() == old) != replaced
        run_all(programs, tmp_path, ["compose"])
        assert yaml.safe_load(out.read_text())["train"]["steps"] == 7
        assert {path.name for path in out.parent.iterdir()} == {"resolved.yaml", ".code"}


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
