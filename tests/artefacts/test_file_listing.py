"""A folder's files and their MD5, read once."""

import hashlib
import os

import pytest

from lorakiln.artefacts.file_listing import UNREAD, FileListing, list_folder, read_states, write_states


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    for name in ("b.png", "a.txt", ".hidden", "deep/c.png"):
        (tmp_path / "raw" / name).write_bytes(name.encode())
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "d.png").write_bytes(b"d")
    return tmp_path / "raw"


def md5(content):
    return hashlib.md5(content).hexdigest()


def again(folder, listing, follow=False):
    write_states(folder.parent / "states.json", listing)
    return list_folder(folder, follow, read_states(folder.parent / "states.json"))


def test_names_and_contents(folder):
    listing = list_folder(folder)
    assert listing.read == 4
    assert listing.files == {name: md5(name.encode()) for name in (".hidden", "a.txt", "b.png", "deep/c.png")}
    assert listing.format().splitlines()[1] == f"{md5(b'a.txt')}  a.txt"
    assert list_folder(folder / "nowhere").files == {}


def test_only_what_changed_is_read_again(folder):
    first = list_folder(folder)
    assert (again(folder, first).read, again(folder, first).files) == (0, first.files)
    before = (folder / "b.png").stat()
    (folder / "b.png").write_bytes(b"B.PNG")
    os.utime(folder / "b.png", ns=(before.st_atime_ns, before.st_mtime_ns))  # as some programs keep it
    (folder / "new.png").write_bytes(b"new")
    (folder / "a.txt").unlink()
    second = again(folder, first)
    assert second.read == 2 and second.files == {
        ".hidden": md5(b".hidden"),
        "b.png": md5(b"B.PNG"),
        "deep/c.png": md5(b"deep/c.png"),
        "new.png": md5(b"new"),
    }


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"b.png": 7, "a.txt": []}', b'{"b.png": ["x"]}'])
def test_damaged_states_are_not_believed(folder, damage):
    path = folder.parent / "states.json"
    path.write_bytes(damage)
    assert list_folder(folder, False, read_states(path)).files == list_folder(folder).files


@pytest.mark.timeout(20)
def test_what_is_no_file_of_the_folder_is_not_opened(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "nothing.png").symlink_to("nowhere")
    (folder / "out.png").symlink_to("../outside/d.png")
    (folder / "linked").symlink_to("../outside")
    listing = list_folder(folder)
    assert {name for name, content in listing.files.items() if content == UNREAD} == {
        "pipe.png",
        "nothing.png",
        "out.png",
    }
    assert "linked/d.png" not in listing.files and listing.compute_dvc_hash() is None
    followed = list_folder(folder, follow_links=True)
    assert followed.files["out.png"] == followed.files["linked/d.png"] == md5(b"d")
    assert followed.files["pipe.png"] == UNREAD


def test_the_hash_of_a_folder_is_dvcs_own(folder):
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    files = {"b.png": md5(b"b"), "B/z.png": md5(b"z"), "\u00e9.png": md5(b"e")}
    tree = Tree()
    for name, content in files.items():
        tree.add(tuple(name.split("/")), Meta(), HashInfo("md5", content))
    tree.digest()
    assert FileListing(files).compute_dvc_hash() == tree.hash_info.value
