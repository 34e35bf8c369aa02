"""What must not be opened is told by a look."""

import os
import socket

import pytest

from lorakiln.artefacts.file_safety import LISTED, check_openable, find_obstacle
from lorakiln.console.errors import UserError


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    (tmp_path / "raw" / "deep" / "a.png").write_bytes(b"a")
    (tmp_path / "outside.png").write_bytes(b"b")
    return tmp_path / "raw"


def link(target):
    return lambda path: path.symlink_to(target)


def bind(path):
    # Paths of sockets may be no longer than 107 bytes.
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "reason", "detail", "followed"),
    [
        (os.mkfifo, "not a regular file", "a pipe", False),
        (bind, "not a regular file", "a socket", False),
        (link("/dev/zero"), "not a regular file", "a device", False),
        (link("/proc/self/mem"), "a link to what is the system's own", "to /proc/", False),
        (link("nowhere"), "a link to nothing", "", False),
        (link("x.png"), "a link to nothing", "", False),  # to itself
        (link("../outside.png"), "a link that leads out", "", True),
    ],
)
def test_what_must_not_be_opened(raw, make, reason, detail, followed):
    make(raw / "x.png")
    for follow in (False, True):
        found = find_obstacle(raw / "x.png", raw, follow)
        if follow and followed:
            assert found is None
            check_openable(raw, follow)
            continue
        assert found.reason.startswith(reason) and found.detail.startswith(detail) and found.fix
        with pytest.raises(UserError) as told:
            check_openable(raw, follow)
        assert f"  x.png: {reason}" in str(told.value) and found.fix in str(told.value)


def test_what_may(raw):
    (raw / "near.png").symlink_to("deep/a.png")
    (raw / "folder").symlink_to("deep")
    check_openable(raw)
    check_openable(raw / "not there")


def test_everything_counts_and_long_lists_are_cut(raw):
    os.mkfifo(raw / "deep" / ".hidden")
    for number in range(LISTED):
        os.mkfifo(raw / f"{number:02d}.txt")
    with pytest.raises(UserError, match=f"{LISTED + 1} of its files must not be opened") as told:
        check_openable(raw)
    assert "  and 1 more" in str(told.value) and "  00.txt: " in str(told.value)
