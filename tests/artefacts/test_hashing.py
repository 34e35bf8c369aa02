"""Content keys of data, and of folders: what is in them, links and odd names included."""

import hashlib
import os
from pathlib import Path

import pytest
from pathspec import PathSpec

from lorakiln.artefacts.hashing import hash_data, hash_file, hash_folder


def test_equal_data_are_one_text_whatever_the_order_of_keys():
    expected = hashlib.sha256('[1,{"a":[null],"b":"ä"}]'.encode()).hexdigest()
    assert hash_data(1, {"b": "ä", "a": [None]}) == hash_data(1, {"a": [None], "b": "ä"}) == expected


def test_every_byte_of_a_file_counts(tmp_path):
    content = bytes(3_000_000)
    (tmp_path / "large").write_bytes(content + b"a")
    assert hash_file(tmp_path / "large") == hashlib.sha256(content + b"a").hexdigest()


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


def test_it_is_a_hash_of_paths_and_contents_in_their_order(folder, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "c.png").write_bytes(b"c")
    (outside / "round").symlink_to(outside)
    (folder / "b.png").write_bytes(b"b")
    (folder / "link").symlink_to(outside)
    (folder / "home").symlink_to(folder)

    def expected(*files):
        return hash_data([[name, hashlib.sha256(content).hexdigest()] for name, content in files])

    inside = [("b.png", b"b"), ("deep/a.png", b"a")]
    # What a link leads to is entered once, and the folder itself not again.
    followed = expected(*inside, ("link/c.png", b"c"))
    assert (hash_folder(folder), hash_folder(folder, follow_links=True)) == (expected(*inside), followed)
    walk = os.walk

    def backwards(*given, **options):
        for parent, folders, names in walk(*given, **options):
            folders.sort(reverse=True)
            yield parent, folders, sorted(names, reverse=True)

    monkeypatch.setattr("os.walk", backwards)
    assert hash_folder(folder, follow_links=True) == followed
    (folder / "deep" / "a.png").rename(folder / "a.png")
    assert hash_folder(folder) == expected(("a.png", b"a"), ("b.png", b"b"))


def test_of_what_cannot_be_read_the_name_counts(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr("lorakiln.artefacts.hashing.hash_file", refuse)
    assert hash_folder(folder) == hash_data([["deep/a.png", None]])


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


@pytest.mark.timeout(20)
def test_what_must_not_be_opened_counts_by_its_name_alone(folder, tmp_path):
    before = hash_folder(folder)
    os.mkfifo(folder / "pipe.png")
    (folder / "memory.png").symlink_to("/proc/self/mem")
    (folder / "nothing.png").symlink_to("nowhere")
    assert before != hash_folder(folder) == hash_folder(folder)
    assert hash_folder(folder, follow_links=True) == hash_folder(folder)


def test_files_behind_links_are_read_where_they_are_followed(folder, tmp_path):
    (tmp_path / "outside.png").write_bytes(b"b")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "near.png").symlink_to(folder / "deep" / "a.png")
    closed, followed = hash_folder(folder), hash_folder(folder, follow_links=True)
    (tmp_path / "outside.png").write_bytes(b"c")
    assert hash_folder(folder) == closed
    assert hash_folder(folder, follow_links=True) != followed
    (folder / "deep" / "a.png").write_bytes(b"c")
    assert hash_folder(folder) != closed


@pytest.mark.parametrize(
    "name",
    ["Thumbs.db", "desktop.ini", ".DS_Store", "a.png:Zone.Identifier", "__MACOSX/._a.png", ".ipynb_checkpoints/a.png"],
)
def test_what_file_managers_leave_behind_changes_nothing(tmp_path, name):
    (tmp_path / "a.png").write_bytes(b"a")
    before = hash_folder(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"left")
    assert hash_folder(tmp_path) == before
    ignored = PathSpec.from_lines("gitwildmatch", Path(".dvcignore").read_text().splitlines())
    assert ignored.match_file(f"data/raw/dog/{name}") and not ignored.match_file("data/raw/dog/a.png")
