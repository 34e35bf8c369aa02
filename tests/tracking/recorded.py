"""What W&B has recorded offline, read back from its .wandb file.

The file is a log in LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md) after a header of
seven bytes; each record is a protobuf message of the client's own.
"""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
FULL, LAST = 1, 4
PATIENCE = 20  # seconds


def records(path: Path) -> Iterator:
    """The messages of a .wandb file, in order."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = HEADER, []
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if not kind:
            at += left
            continue
        parts.append(data[at + HEADER : at + HEADER + length])
        at += HEADER + length
        if kind in (FULL, LAST):
            message = wandb_internal_pb2.Record()
            message.ParseFromString(b"".join(parts))
            parts = []
            yield message


class Recorded:
    """The runs below a folder, put together.

    Attributes:
        runs: by id: name, group, job type, tags, config.
        history: rows logged, by run.
        summary: by run.
        artifacts: (run, type, name, aliases, metadata, names of the files inside).
        references: by an artifact's name, what it refers to instead of holding a copy.
    """

    def __init__(self, folder: Path) -> None:
        self.runs, self.history, self.summary, self.artifacts = {}, {}, {}, []
        self.references = {}
        for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
            run = path.stem.removeprefix("run-")
            for message in self._ended(path):
                self._take(run, message)

    @staticmethod
    def _ended(path: Path) -> list:
        """The client's service writes the last of them a moment after the run has finished."""
        end = time.monotonic() + PATIENCE
        while True:
            found = list(records(path))
            if any(message.WhichOneof("record_type") == "exit" for message in found):
                return found
            assert time.monotonic() < end, f"{path} has no end"
            time.sleep(0.05)

    def _take(self, run: str, message) -> None:
        kind = message.WhichOneof("record_type")
        if kind == "run":
            found = message.run
            config = {item.key: json.loads(item.value_json) for item in found.config.update}
            known = self.runs.setdefault(run, {"name": "", "group": "", "job_type": "", "tags": [], "config": {}})
            known["name"] = known["name"] or found.display_name
            known["group"] = found.run_group or known["group"]
            known["job_type"] = known["job_type"] or found.job_type
            known["tags"] = list(found.tags) or known["tags"]
            known["config"] |= config
        elif kind == "config":
            config = {item.key: json.loads(item.value_json) for item in message.config.update if item.key}
            self.runs[run]["config"] |= config
        elif kind == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in message.history.item}
            self.history.setdefault(run, []).append(row)
        elif kind == "summary":
            found = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in message.summary.update
            }
            self.summary.setdefault(run, {}).update(found)
        elif kind == "artifact":
            self._artifact(run, message.artifact)
        elif kind == "request" and message.request.HasField("log_artifact"):
            self._artifact(run, message.request.log_artifact.artifact)

    def _artifact(self, run: str, found) -> None:
        names = {entry.path for entry in found.manifest.contents}
        self.references[found.name] = [entry.ref for entry in found.manifest.contents if entry.ref]
        metadata = json.loads(found.metadata or "{}")
        self.artifacts.append((run, found.type, found.name, list(found.aliases), metadata, names))
