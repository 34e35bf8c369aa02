"""An ordinary user, who may not read or write something: one line with the file and what to do."""

import os
import shutil

import pytest

from tests.faults.conftest import run_all, serving

# Root without its privileges is an ordinary user who owns the files.
ORDINARY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.getuid() == 0 else ()
READ, WRITE = ": cannot be read: Permission denied", ": cannot write: Permission denied"

pytestmark = pytest.mark.skipif(bool(ORDINARY) and not shutil.which(ORDINARY[0]), reason="root, and no setpriv")


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("ordinary"), *ORDINARY) as programs:
        yield programs


@pytest.mark.parametrize(
    ("stage", "path", "mode", "said"),
    [
        ("prepare", "raw/mine/3.png", 0, "cannot be read (1); change its permissions:"),
        ("prepare", "raw/mine", 0, "a folder that cannot be read (1); change its permissions:"),
        ("prepare", "outputs/resolved.yaml", 0, f"outputs/resolved.yaml{READ}"),
        ("prepare", "outputs", 0o555, f"outputs/.prepared.new{WRITE}"),
        ("caption", "outputs/prepared/metadata.jsonl", 0, f"metadata.jsonl{READ}"),
        ("encode", "outputs/captioned/0.png", 0, "outputs/captioned/0.png"),
        ("train", "outputs/encoded/64x64.safetensors", 0, f"64x64.safetensors{READ}"),
        ("train", "cache", 0o555, f"cache/checkpoints{WRITE}"),
        ("export", "outputs/run/adapters/step-00000002.safetensors", 0, f"step-00000002.safetensors{READ}"),
        ("export", "outputs/run/facts.json", 0, f"facts.json{READ}"),
        ("evaluate", "outputs/lora/mine.safetensors", 0, f"mine.safetensors{READ}"),
        ("evaluate", "outputs", 0o555, WRITE),
    ],
)
def test_permissions(ordinary, stages_before, stage, path, mode, said):
    stages = stages_before(stage)
    (stages / "cache").mkdir(exist_ok=True)
    before = (stages / path).stat().st_mode
    (stages / path).chmod(mode)
    try:
        status, printed = ordinary.start(f"pipelines.{stage}", stages).wait()
    finally:
        (stages / path).chmod(before)
    assert status == 1 and said in printed, printed
    assert "ermission" in printed and "Traceback" not in printed and "no such file" not in printed
    run_all(ordinary, stages, [stage])


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "a cat", "--out", "shut/drawn"),
        ("merge", "a.safetensors", "a.safetensors", "--out", "shut/b.safetensors"),
    ],
)
def test_a_shut_folder_is_told_before_anything_is_read_or_drawn(ordinary, tmp_path, command):
    (tmp_path / "shut").mkdir(mode=0o555)
    status, printed = ordinary.start("lorakiln", tmp_path, command).wait()
    assert status == 1 and printed.startswith(f"error: {tmp_path / 'shut'}: nothing may be written in it"), printed
