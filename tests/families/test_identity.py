"""What a base's files are known by, and that they are read once."""

import time

import pytest

from lorakiln.families import identity
from lorakiln.families.identity import SETTLED, hash_quickly


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read."""
    found = []
    real = identity.hash_file
    monkeypatch.setattr(identity, "hash_file", lambda path: (found.append(path), real(path))[1])
    return found


def test_a_file_that_lies_there_for_long_is_read_once_in_a_process(tmp_path, hashed, monkeypatch):
    file = tmp_path / "config.json"
    file.write_bytes(b"one")
    monkeypatch.setattr(time, "time_ns", lambda: file.stat().st_ctime_ns + SETTLED + 1)
    before = hash_quickly(file)
    assert hash_quickly(file) == before and hashed == [file]
    file.write_bytes(b"three")
    assert hash_quickly(file) != before and hashed == [file, file]


def test_a_file_that_was_changed_this_moment_is_read_again(tmp_path, hashed):
    file = tmp_path / "config.json"
    for content in (b"one", b"two"):
        file.write_bytes(content)
        found = hash_quickly(file)
        file.write_bytes(content[::-1])
        assert hash_quickly(file) != found
    assert len(hashed) == 4
