"""A stage killed at any moment leaves its old output or its new one, whole, and a second run finishes the job."""

import shutil
import time

import numpy as np
import pytest
from PIL import Image

SETTINGS = {
    "prepare": {
        "dataset": "mine", "resolution": 64, "bucket": {"min": 32, "max": 128, "step": 16}, "workers": 1,
    },
    "caption": {"captioner": "none", "trigger": "sks"},
    "encode": {"flip": True, "batch_size": 4, "device": "cpu"},
}  # fmt: skip
COUNT = 12


@pytest.fixture
def stages(checkout, tmp_path):
    """A checkout whose data/raw/mine may be changed, with an old output of both stages."""
    folder = checkout(**SETTINGS)
    raw = folder / "raw"
    text = (folder / "outputs" / "resolved.yaml").read_text()
    lines = [f"  raw: {raw}" if line.startswith("  raw:") else line for line in text.splitlines()]
    (folder / "outputs" / "resolved.yaml").write_text("\n".join(lines))
    (raw / "mine").mkdir(parents=True)
    paint(raw / "mine", 0)
    return folder


def paint(folder, seed):
    for number in range(COUNT):
        shades = np.random.default_rng([seed, number]).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(shades).save(folder / f"{number}.png")


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


STAGES = {"prepare": "prepared", "caption": "captioned", "encode": "encoded"}


@pytest.mark.parametrize("stage", STAGES)
def test_old_or_new_and_whole(programs, stages, stage):
    out = stages / "outputs" / STAGES[stage]
    until = list(STAGES)[: list(STAGES).index(stage) + 1]
    run_all(programs, stages, until)
    old = contents(out)
    paint(stages / "raw" / "mine", 1)
    run_all(programs, stages, until[:-1])
    began = time.monotonic()
    run_all(programs, stages, until[-1:])
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
        run_all(programs, stages, until[-1:])
        assert contents(out) == new
        assert not list((stages / "outputs").glob(".*"))
    # Else the moments would show nothing.
    assert False in seen


def run_all(programs, folder, names):
    for name in names:
        status, printed = programs.start(f"pipelines.{name}", folder).wait()
        assert status == 0, printed


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
