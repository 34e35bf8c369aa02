"""Content keys of folders: what is in them, links and odd names included."""

import os

import pytest

from lorakiln.artefacts.hashing import hash_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    (tmp_path / "raw" / "deep" / "a.png").write_bytes(b"a")
    return tmp_path / "raw"


def test_names_and_contents_count_and_hidden_files_do_not(folder):
    before = hash_folder(folder)
    (folder / ".hidden").write_bytes(b"x")
    assert hash_folder(folder) == before
    (folder / "b.txt").write_bytes(b"b")
    added = hash_folder(folder)
    assert added != before
    (folder / "b.txt").write_bytes(b"c")
    assert hash_folder(folder) not in (before, added)
    (folder / "b.txt").rename(folder / "c.txt")
    assert hash_folder(folder) not in (before, added)


def test_folders_behind_links_count_where_they_are_followed(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.png").write_bytes(b"b")
    (folder / "link").symlink_to(outside)
    (outside / "round").symlink_to(outside)
    (folder / "home").symlink_to(folder)
    closed, followed = hash_folder(folder), hash_folder(folder, follow_links=True)
    (outside / "b.png").unlink()
    assert hash_folder(folder) == closed
    assert hash_folder(folder, follow_links=True) != followed


def test_a_name_that_is_not_utf8(folder):
    before = hash_folder(folder)
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    assert hash_folder(folder) != before
