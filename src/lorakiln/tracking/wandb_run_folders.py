"""The folders of a run below W&B's own, and those among them that a kill has cut off.

Training, export and evaluation each write a run folder, with one .wandb file. That is a log in LevelDB's format
(https://github.com/google/leveldb/blob/main/doc/log_format.md) after a header of seven bytes; the last of its records
tells the exit. At a folder whose log has none `wandb sync` fails, and sends no later folder of the same run.
"""

import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

BLOCK, BEGIN, HEADER = 32768, 7, 7  # bytes
FULL, FIRST, LAST = 1, 2, 4
ASIDE = "cut-off"  # the folder in W&B's own where `wandb sync` does not look
# Of the client's service, which writes the exit a moment after the run has ended, seconds.
PATIENCE, RECENT, POLL = 5.0, 10.0, 0.1
Parse = Callable[[bytes], Any]  # the client's own message, of its bytes


@dataclass(frozen=True)
class RunFolder:
    """What one process has recorded of a run.

    Attributes:
        whole: whether its log has an end.
        last: the largest number (W&B's `_step`) of a row in the log; -1 if it has none.
    """

    path: Path
    whole: bool
    last: int


def read_run_folders(folder: Path, run: str, parse: Parse, ours: Mapping[Path, int] | None = None) -> list[RunFolder]:
    """The folders of `run` below W&B's own, the oldest first.

    One that has no end yet, and was just written to, is given some seconds.

    Args:
        ours: the last row's number by folder, of those that this process has begun; it need not be on the disk yet.
    """
    found = sorted(folder.glob(f"*run-*-{run}/run-{run}.wandb"))
    own = {path: (ours or {}).get(path.parent.resolve()) for path in found}
    return [
        _read_patiently(path, parse) if last is None else RunFolder(path.parent, True, last)
        for path, last in own.items()
    ]


def wait_for_a_name(folder: Path, run: str) -> None:
    """Return when a new run folder has a name of its own: the client names it by the second at which it begins, and
    writes over one that was begun in the same.
    """
    while any(list(place.glob(f"*run-{datetime.now():%Y%m%d_%H%M%S}-{run}")) for place in (folder, folder / ASIDE)):
        time.sleep(POLL)


def set_aside(run_folder: RunFolder) -> Path:
    """Move a run folder to where nothing is sent from; the new folder."""
    place = run_folder.path.parent / ASIDE / run_folder.path.name
    place.parent.mkdir(exist_ok=True)
    return run_folder.path.rename(place)


def _read_patiently(path: Path, parse: Parse) -> RunFolder:
    end = time.monotonic() + PATIENCE
    while True:
        found = _read(path, parse)
        if found.whole or time.time() - path.stat().st_mtime > RECENT or time.monotonic() > end:
            return found
        time.sleep(POLL)


def _read(path: Path, parse: Parse) -> RunFolder:
    whole, last = False, -1
    for content in read_records(path.read_bytes()):
        try:
            message = parse(content)
        except Exception:  # noqa: BLE001 - protobuf's own; what cannot be read cannot be sent
            return RunFolder(path.parent, False, last)
        kind = message.WhichOneof("record_type")
        whole = whole or kind == "exit"
        if kind == "history":
            last = max(last, message.history.step.num)
    return RunFolder(path.parent, whole, last)


def read_records(data: bytes) -> Iterator[bytes]:
    """The whole records of a .wandb file, in order; what is cut off at the end is left out."""
    at = BEGIN
    pieces: list[bytes] = []
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if left < HEADER or not kind:
            at += left  # padding
            continue
        piece = data[at + HEADER : at + HEADER + length]
        if len(piece) < length:
            return
        at += HEADER + length
        pieces = [piece] if kind in (FULL, FIRST) else [*pieces, piece]
        if kind in (FULL, LAST):
            yield b"".join(pieces)
