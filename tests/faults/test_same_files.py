"""The same seed, settings, data and machine give the same files, from the first stage to the last."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.faults.conftest import ROOT, serving

STAGES = ("compose", "prepare", "caption", "encode", "train", "choose", "export", "evaluate")
MAY_DIFFER = {"run/provenance.json", "run/tracker.json"}  # see docs/pipeline.md


def project(folder: Path) -> Path:
    """A checkout on the `smoke` experiment, before its first stage."""
    folder.mkdir(parents=True)
    for name in ("conf", "data", "models"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "params.yaml").write_text(yaml.safe_dump({"experiment": "smoke", "dataset": "demo_style"}))
    return folder


def made(programs, folder: Path, stages=STAGES) -> dict[str, bytes]:
    """Run the stages; every file that they wrote, but for the records of files' times and places on this disk."""
    for stage in stages:
        status, told = programs.start(f"pipelines.{stage}", folder).wait()
        assert status == 0, told
    return {
        path.relative_to(folder / "outputs").as_posix(): path.read_bytes()
        for path in (folder / "outputs").rglob("*")
        if path.is_file() and path.suffix != ".made"
    }


def unlike(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


@pytest.mark.slow
def test_two_folders_two_processes_the_same_bytes(programs, tmp_path, tmp_path_factory):
    here, there = project(tmp_path / "a"), project(tmp_path / "elsewhere" / "b")
    one = made(programs, here)
    # Sets and dictionaries of another process are in another order.
    with serving(tmp_path_factory.mktemp("jobs"), PYTHONHASHSEED="1") as others:
        other = made(others, there)
        assert unlike(one, other) <= MAY_DIFFER
        kinds = {(name.split("/")[0], Path(name).suffix) for name in one}
        assert kinds >= {
            ("prepared", ".png"),
            ("prepared", ".jsonl"),
            ("captioned", ".png"),
            ("captioned", ".jsonl"),
            ("encoded", ".safetensors"),
            ("run", ".safetensors"),
            ("run", ".csv"),
            ("run", ".png"),
            ("lora", ".safetensors"),
            ("lora", ".png"),
            ("lora", ".md"),
            ("report", ".png"),
            ("report", ".json"),
            ("report", ".html"),
        }
        results = []
        for programs_of, folder in ((programs, here), (others, there)):
            shutil.rmtree(folder / "outputs" / "run")
            params = {"experiment": "smoke", "dataset": "demo_style", "overrides": ["train.deterministic=true"]}
            (folder / "params.yaml").write_text(yaml.safe_dump(params))
            results.append(made(programs_of, folder, ("compose", "train", "export")))
    assert unlike(*results) <= MAY_DIFFER
    assert results[0]["resolved.yaml"] != one["resolved.yaml"]
