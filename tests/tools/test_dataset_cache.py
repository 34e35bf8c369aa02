"""The datasets of the second door: which are kept, which are removed, and none that somebody reads."""

import os
import subprocess
import sys

import pytest

from lorakiln.cli import main
from lorakiln.facts.dataset import Dataset
from lorakiln.tools.dataset_cache import (
    UNFINISHED,
    USED,
    choose_surplus,
    find_newest,
    hold,
    list_cached,
    remove_unheld,
)
from tests.made_facts import DATASET


@pytest.fixture
def cache(tmp_path):
    """Four folders of two datasets, and one that is unfinished; the later, the longer ago they were used."""
    for age, (name, dataset) in enumerate({"a": "cat", "b": "cat", "c": "dog", "d": "cat", "e": "cat"}.items()):
        folder = tmp_path / "cache" / "datasets" / name
        for part in ("captioned", "encoded", USED):
            (folder / part).mkdir(parents=True)
        Dataset(**DATASET | {"name": dataset}, settings={}).write(folder / "captioned" / "dataset.json")
        (folder / "encoded" / "index.json").write_text("{}")
        (folder / "encoded" / "64x64.safetensors").write_bytes(bytes(1_000_000))
        os.utime(folder / USED, (1e9 - age, 1e9 - age))
        os.utime(folder / "encoded" / "index.json", (1e9 - age, 1e9 - age))
    (tmp_path / "cache" / "datasets" / "e" / UNFINISHED).touch()
    return tmp_path / "cache"


def names(cache):
    return sorted(path.name for path in (cache / "datasets").iterdir())


def test_they_are_listed_by_name_and_the_last_used_first(cache):
    told = [(one.folder.name, one.dataset) for one in list_cached(cache)]
    assert told == [("e", ""), ("a", "cat"), ("b", "cat"), ("d", "cat"), ("c", "dog")]
    assert list_cached(cache / "none") == []


def test_of_each_dataset_those_that_were_used_last_are_kept(cache):
    chosen = {keep: sorted(one.folder.name for one in choose_surplus(list_cached(cache), keep)) for keep in range(4)}
    assert chosen == {0: ["a", "b", "c", "d", "e"], 1: ["b", "d"], 2: ["d"], 3: []}
    os.utime(cache / "datasets" / "d" / USED)
    assert [one.folder.name for one in choose_surplus(list_cached(cache), 1)] == ["a", "b"]


def test_what_others_share_frees_nothing(cache):
    before = {one.folder.name: one.count_bytes() for one in list_cached(cache)}
    os.link(cache / "datasets/a/encoded/64x64.safetensors", cache / "datasets/b/encoded/48x64.safetensors")
    after = {one.folder.name: one.count_bytes() for one in list_cached(cache)}
    assert before["a"] - after["a"] == 1_000_000 and before["b"] == after["b"]


def test_the_newest_of_a_dataset_is_whole(cache):
    assert find_newest(cache, "cat") == cache / "datasets" / "a" and find_newest(cache, "horse") is None
    (cache / "datasets" / "a" / UNFINISHED).touch()
    (cache / "datasets" / "b" / "captioned" / "dataset.json").write_text("{")
    assert find_newest(cache, "cat") == cache / "datasets" / "d"


def test_what_is_read_is_not_removed(cache):
    folders = [cache / "datasets" / name for name in ("a", "b", "d")]
    lock = folders[1] / USED / "another-process"
    program = f"from filelock import FileLock; lock = FileLock({str(lock)!r}); lock.acquire(); print('held'); input()"
    other = subprocess.Popen([sys.executable, "-uc", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout.readline() == "held\n"
        hold(folders[0])
        hold(folders[0])  # by the same process again
        (cache / ".datasets.d.removed" / "of one that was killed").mkdir(parents=True)
        assert remove_unheld(cache, folders) == [folders[2]]
        assert remove_unheld(cache, folders) == []  # another has removed it
        other.kill()
    # A process that was killed holds nothing.
    assert remove_unheld(cache, folders) == [folders[1]]
    assert names(cache) == ["a", "c", "e"] and not list(cache.glob(".*"))


def test_what_was_removed_by_hand_is_held_anew(cache):
    folder = cache / "datasets" / "new"
    hold(folder)
    for path in (folder / USED).iterdir():
        path.unlink()
    hold(folder)
    assert remove_unheld(cache, [folder]) == []


def test_the_command_tells_what_it_removes(cache, capsys):
    assert main(["clean", "--cache", str(cache), "--dry-run"]) == 0
    assert names(cache) == ["a", "b", "c", "d", "e"] and "2 of 5 datasets would be removed" in capsys.readouterr().out
    hold(cache / "datasets" / "b")
    os.utime(cache / "datasets" / "b" / USED, (1, 1))
    assert main(["clean", "--cache", str(cache), "--keep", "1"]) == 0
    told = capsys.readouterr().out
    assert (
        names(cache) == ["a", "b", "c", "e"] and "b: cat, 1.0 MB: in use" in told and "1 of 5 datasets removed" in told
    )
    assert main(["clean", "--cache", str(cache), "--keep", "0"]) == 0
    assert names(cache) == ["b"]


def test_a_cache_of_before_is_removed_too(cache):
    (cache / "datasets" / "a" / USED).rmdir()
    assert remove_unheld(cache, [cache / "datasets" / "a"]) == [cache / "datasets" / "a"]
