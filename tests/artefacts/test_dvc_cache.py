"""A stage that `dvc` runs ends in one line if DVC's cache has no room for what it made."""

import pytest

from lorakiln.artefacts.folders import replacing
from lorakiln.console.errors import UserError


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    remote = x\n")
    monkeypatch.setenv("DVC_STAGE", "prepare")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def make(project, **files):
    with replacing(project / "outputs" / "prepared") as fresh:
        for name, size in files.items():
            (fresh / name).write_bytes(bytes(size))


def test_no_room_for_the_copy(project, disk_of, monkeypatch):
    disk_of(9_999)
    with pytest.raises(UserError, match=r"the copy of .*/prepared in DVC's cache needs about 9.8 KiB") as told:
        make(project, a=10_000)
    assert told.value.where == project / ".dvc" / "cache"
    assert not (project / "outputs" / "prepared").exists()
    disk_of(10_000)
    make(project, a=10_000)
    disk_of(500)  # what was there before, DVC has
    make(project, a=10_000, b=500)
    with pytest.raises(UserError, match="501 bytes"):
        make(project, a=10_001 - 10_000 + 500)
    monkeypatch.delenv("DVC_STAGE")
    make(project, c=10_000)


def test_where_the_cache_is_and_what_needs_none(project, disk_of, tmp_path):
    disk_of(0)
    (project / ".dvc" / "config").write_text("[cache]\n    dir = ../elsewhere\n")
    with pytest.raises(UserError) as told:
        make(project, a=10)
    assert str(told.value.where).endswith(".dvc/../elsewhere")
    (project / ".dvc" / "config.local").write_text("[cache]\n    type = hardlink,symlink\n")
    make(project, a=10)
