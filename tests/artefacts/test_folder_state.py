"""What changed in a folder since somebody began to read it."""

import os

import pytest

from lorakiln.artefacts.folder_state import FolderState
from lorakiln.console.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "deep/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    return tmp_path


def replace_with_the_same_size(folder):
    os.replace(folder / "a.png", folder / "deep/b.txt")
    (folder / "a.png").write_text("a.png")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda folder: (folder / "c.txt").write_text("new"), "c.txt"),
        (lambda folder: (folder / "a.png").write_text("longer than before"), "a.png"),
        (lambda folder: (folder / "deep/b.txt").unlink(), "deep/b.txt"),
        (lambda folder: os.utime(folder / "a.png", (1, 1)), "a.png"),
        (lambda folder: (folder / "deep").rename(folder / "deeper"), "deep/b.txt, deeper/b.txt"),
        (replace_with_the_same_size, "a.png, deep/b.txt"),
    ],
)
def test_what_changed_is_named(folder, change, names):
    state = FolderState(folder)
    state.check()
    change(folder)
    with pytest.raises(UserError, match=f"changed while this ran, which may have read them before: {names}\n"):
        state.check()


def test_what_is_read_or_left_by_file_managers_is_no_change(folder):
    state = FolderState(folder)
    assert (folder / "a.png").read_text()
    (folder / "Thumbs.db").write_text("x")
    (folder / ".hidden").write_text("x")
    state.check()
