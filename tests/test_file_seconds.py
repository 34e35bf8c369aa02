"""Which files pytest's workers begin with, and which are told to be slow."""

from types import SimpleNamespace

import pytest

from tests import file_seconds
from tests.file_seconds import SECONDS, list_over, pytest_collection_modifyitems, read_seconds, write_seconds


def test_long_files_are_recorded_and_have_a_budget(tmp_path):
    write_seconds({"a.py": 12.4, "b.py": 9.9, "c.py": 200.0}, tmp_path / "seconds.txt")
    known = read_seconds(tmp_path / "seconds.txt")
    assert known == {"c.py": 200.0, "a.py": 12.0}
    assert list_over({"a.py": 44.0, "b.py": 40.0, "c.py": 420.0}, known) == []
    assert list_over({"a.py": 45.0, "b.py": 41.0, "c.py": 421.0}, known) == [
        "c.py: 421 s, where 200 s are usual",
        "a.py: 45 s, where 12 s are usual",
        "b.py: 41 s, where 10 s are usual",
    ]


@pytest.mark.parametrize(("config", "order"), [({"workerinput": {}}, "cdbae"), ({}, "abcde")])
def test_workers_begin_with_the_longest_files(tmp_path, monkeypatch, config, order):
    (tmp_path / "seconds.txt").write_text("# Seconds.\n30 c.py\n30 d.py\n20 b.py\n")
    monkeypatch.setattr(file_seconds, "SECONDS", tmp_path / "seconds.txt")
    items = [SimpleNamespace(nodeid=f"{name}.py::test") for name in "abcde"]
    pytest_collection_modifyitems(SimpleNamespace(**config), items)
    assert "".join(item.nodeid[0] for item in items) == order


def test_no_file_is_recorded_that_is_gone():
    assert not [file for file in read_seconds(SECONDS) if not (SECONDS.parents[1] / file).is_file()]
