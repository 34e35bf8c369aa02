"""A power cut loses nothing that was said to be there: files and names are on the disk before older ones go."""

import os
from pathlib import Path

import pytest

from lorakiln.train.checkpoint import CheckpointFolder


class Disk:
    """What was asked to be written to it: every file as it was then, and every folder with its names."""

    def __init__(self) -> None:
        self.settled = set()

    def fsync(self, handle: int) -> None:
        self.settled.add(state_of(Path(f"/proc/self/fd/{handle}").resolve()))

    def holds(self, path: Path) -> bool:
        return state_of(path) in self.settled


def state_of(path: Path):
    status = path.stat()
    return status.st_ino, path.is_dir() and tuple(sorted(os.listdir(path))), path.is_file() and status.st_mtime_ns


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


@pytest.fixture
def settings(make_settings):
    return lambda **changes: make_settings(
        steps=3,
        checkpoint_every=1,
        save_every=2,
        tracker={"log_every": 1},
        validation={"every": 2, "fraction": 0.3, "draws": 1},
        samples={"every": 2, "steps": 1},
        **changes,
    )


# A constant rate keeps the last state for a longer run, another kind deletes all.
@pytest.mark.parametrize(("kind", "ending"), [("constant", "finish"), ("cosine", "delete")])
@pytest.mark.parametrize("swaps", [True, False], ids=["in one step", "in two"])
def test_the_run_is_on_the_disk_before_its_checkpoints_go(
    disk, train_micro, settings, monkeypatch, tmp_path, kind, ending, swaps
):
    out, found = tmp_path / "out", []
    (out / "old").mkdir(parents=True)
    if not swaps:
        monkeypatch.setattr("lorakiln.artefacts.folders._exchange", lambda one, other: False)
    end = getattr(CheckpointFolder, ending)

    def ended(folder, *step):
        found.extend(path for path in out.rglob("*"))
        assert all(disk.holds(path) for path in found), [path for path in found if not disk.holds(path)]
        assert any(inode == out.parent.stat().st_ino and out.name in names for inode, names, _ in disk.settled if names)
        assert folder.files()
        end(folder, *step)

    monkeypatch.setattr(CheckpointFolder, ending, ended)
    train_micro(settings(scheduler={"kind": kind}))
    assert {path.name for path in found} > {"facts.json", "metrics.csv", "step-00000003.safetensors", "01.png"}


def test_the_old_folder_goes_after_the_new_one_is_on_the_disk(disk, tmp_path, monkeypatch):
    from lorakiln.artefacts import folders

    out, went = tmp_path / "out", []
    out.mkdir()
    (out / "old").touch()
    remove = folders.shutil.rmtree

    def removed(folder, **named):
        if (folder / "old").exists():
            assert disk.holds(out / "new") and disk.holds(out) and disk.holds(tmp_path)
            went.append(folder)
        remove(folder, **named)

    monkeypatch.setattr(folders.shutil, "rmtree", removed)
    with folders.replacing(out) as fresh:
        (fresh / "new").write_text("new")
    assert went and [path.name for path in out.iterdir()] == ["new"]


def test_a_checkpoint_and_what_it_counts_on_are_on_the_disk_before_an_older_one_goes(
    disk, train_micro, settings, monkeypatch
):
    unlink, gone = Path.unlink, []

    def unlinked(path, **named):
        if path.name.startswith("step-") and path.suffix == ".safetensors" and path.parent.name != "adapters":
            assert all(disk.holds(one) for one in (path.parent, *path.parent.glob("step-*")))
            assert all(disk.holds(one) for one in path.parent.glob("work/*/**/*"))
            gone.append(path.name)
        unlink(path, **named)

    monkeypatch.setattr(Path, "unlink", unlinked)
    train_micro(settings(scheduler={"kind": "cosine"}))
    assert gone == ["step-00000001.safetensors"]
