"""A server that does not answer is asked once, not by every job of a sweep anew."""

import contextlib
import time
from pathlib import Path

from lorakiln.artefacts.json_files import read_json, write_json

LASTS = 15 * 60  # seconds for which the runs after it do not ask again


class ServerSilence:
    """A note beside W&B's files that `server` did not answer; what cannot be read or written is no silence."""

    def __init__(self, folder: Path, server: str) -> None:
        self.path, self.server = folder / "wandb" / "no-answer.json", server

    def begin(self) -> None:
        with contextlib.suppress(Exception):
            write_json(self.path, {"server": self.server, "at": time.time()})

    def lasts(self) -> bool:
        """Whether it began less than LASTS seconds ago."""
        try:
            kept = read_json(self.path)
            return bool(kept["server"] == self.server and 0 <= time.time() - kept["at"] < LASTS)
        except Exception:  # noqa: BLE001 - no note, or none that can be read
            return False

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
