"""What lies in a shard, a tar file, by its headers alone (POSIX.1-2001, pax and ustar; GNU's long names)."""

import tarfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lorakiln.sources import UnusableFile
from lorakiln.sources.folder.scan import is_utf8

BLOCK = 512  # bytes; the end of a tar file is a block of zeros, and more of them
BEHIND = 1 << 20  # bytes that are looked at behind it: writers fill up to a record of 10 kB
_FETCH = "fetch it again, or pack it again"


class Member(NamedTuple):
    """Where the bytes of a member are in its shard."""

    start: int
    size: int


def list_members(path: Path) -> tuple[dict[str, Member], list[UnusableFile]]:
    """The files in a shard by the names that they have as the dataset's, "SHARD/a.jpg", and what cannot be used.

    Hidden files are left out. Of a shard that is damaged there is what comes before that.
    """
    found, bad, twice = dict[str, Member](), list[UnusableFile](), set[str]()
    shard = PurePosixPath(path.name).stem
    try:
        length = path.stat().st_size
        with tarfile.open(path, "r:", errors="surrogateescape") as archive:
            for member in archive:
                if member.isdir():
                    continue
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                name = "/".join([shard, *parts])
                if wrong := _find_fault(member, length):
                    shown = member.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                    bad.append(UnusableFile(f"{path.name}: {shown}", *wrong))
                elif any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX":
                    continue
                elif name in found:
                    twice.add(name)
                else:
                    found[name] = Member(member.offset_data, member.size)
            end = archive.offset
        if fault := _find_bad_end(path, end):
            bad.append(UnusableFile(path.name, fault, _FETCH))
    except tarfile.TarError as error:
        bad.append(UnusableFile(path.name, "no whole tar file; a compressed one is not read", _FETCH, str(error)))
    except OSError as error:
        bad.append(UnusableFile(path.name, "cannot be read", "change its permissions", error.strerror or str(error)))
    for name in sorted(twice):
        del found[name]
        bad.append(UnusableFile(name, "twice in its shard", "pack it again, with one of them"))
    return found, bad


def _find_fault(member: tarfile.TarInfo, length: int) -> tuple[str, str] | None:
    """Why a member must not be used, and what to do; None for a regular file of the shard's own."""
    if member.issym() or member.islnk():
        return "a link in a shard", "pack the file itself (tar --dereference --hard-dereference)"
    if not member.isreg() or member.sparse is not None:
        return "not a regular file", "leave it out of the shard"
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "a path that leads out of its shard", "pack it by a name without / in front and without .."
    if not is_utf8(member.name):
        return "its name is not UTF-8", "rename it"
    if member.offset_data + member.size > length:
        return "cut off: the shard ends within it", _FETCH
    return None


def _find_bad_end(path: Path, end: int) -> str | None:
    """What is wrong with what stands behind the last member: a download may have stopped just there."""
    with path.open("rb") as file:
        file.seek(end)
        rest = file.read(BEHIND)
    if len(rest) < BLOCK:
        return "cut off: it has no end mark, and there may be samples missing"
    if any(rest[:BLOCK]):
        return "damaged: what stands behind its last readable member is none"
    return "two tar files one behind the other, of which the first alone can be read" if any(rest) else None
