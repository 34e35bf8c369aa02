"""One changed caption is one caption encoded anew, by the second door too; the first is in test_first_door.py."""

import os
import shutil
from pathlib import Path

import pytest

from lorakiln.runs import make_dataset
from lorakiln.schema.whole_config import check_whole
from lorakiln.tools.dataset_cache import UNFINISHED, USED, is_whole
from pipelines.compose import compose_config
from tests.small_runs import SmallRuns


@pytest.fixture
def small(tmp_path):
    small = SmallRuns(tmp_path)
    raw = tmp_path / "raw/mine"
    for number in range(4, 25):
        (raw / f"{number}.png").unlink()
        (raw / f"{number}.txt").unlink()
    for number in range(4):
        (raw / f"{number}.txt").write_text(f"{number} cats")
    return small


def make(small, *overrides, cache="cache"):
    given = [one for one in small.overrides("sd15") if not one.startswith("paths.cache=")]
    return make_dataset(check_whole(compose_config([*given, f"paths.cache={small.folder / cache}", *overrides])))


def contents(folder: Path):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock" and path.suffix != ".made" and path.parent.name != USED
    }


def test_the_second_door_takes_all_else_from_the_dataset_before(small, capfd):
    raw = small.folder / "raw/mine"
    first = make(small)
    assert "new: 4 pictures, 4 captions" in capfd.readouterr().out
    before = contents(first)
    (raw / "Thumbs.db").write_bytes(b"of a file manager")
    assert make(small) == first and "data: reusing" in capfd.readouterr().out
    (raw / "2.txt").write_text("two cats")
    second = make(small)
    told = capfd.readouterr().out
    assert second != first and contents(first) == before
    assert "prepare: 4 pictures (4 reused)" in told and "new: 0 pictures, 1 caption" in told
    # As if nothing had been there.
    assert contents(second) == contents(make(small, cache="empty"))


def test_what_was_stopped_on_the_way_is_no_dataset(small, monkeypatch):
    first = make(small)
    (small.folder / "raw/mine/2.txt").write_text("two cats")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("lorakiln.encode.encode", stop)
        make(small)
    (begun,) = (path.parent for path in (small.folder / "cache/datasets").glob(f"*/{UNFINISHED}"))
    # Its encoded pictures are those of the other dataset.
    assert (begun / "encoded/index.json").samefile(first / "encoded/index.json") and not is_whole(begun)
    assert make(small) == begun and is_whole(begun)
    assert contents(begun) == contents(make(small, cache="empty"))


def test_another_dataset_and_a_damaged_one_are_left_alone(small, capfd):
    first = make(small)
    shutil.copytree(small.folder / "raw/mine", small.folder / "raw/other")
    (small.folder / "raw/other/2.txt").write_text("two cats")
    capfd.readouterr()
    make(small, "prepare.dataset=other")
    assert "new: 4 pictures, 4 captions" in capfd.readouterr().out
    (first / "captioned/dataset.json").write_text("{")
    (small.folder / "raw/mine/1.txt").write_text("one cat")
    make(small)
    assert "new: 4 pictures, 4 captions" in capfd.readouterr().out


def test_old_datasets_make_room_and_those_that_are_read_stay(small, monkeypatch):
    first = make(small)  # this process reads it
    monkeypatch.setattr("lorakiln.runs.KEPT", 1)
    old = first.with_name("0" * 16)
    shutil.copytree(first, old)
    shutil.rmtree(old / USED)  # of a process that has ended
    os.utime(old, (1, 1))
    (small.folder / "raw/mine/2.txt").write_text("two cats")
    second = make(small)
    assert sorted(path for path in first.parent.iterdir()) == sorted([first, second])


def test_captions_that_change_alone_leave_the_pictures_as_they_are(small, capfd):
    first = make(small)
    second = make(small, "caption.suffix=indoors")
    told = capfd.readouterr().out
    assert "prepare: nothing has changed" in told and "new: 0 pictures, 4 captions" in told
    assert contents(second / "prepared") == contents(first / "prepared")
