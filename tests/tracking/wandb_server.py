"""A stand-in for W&B's server: answers the client as far as `wandb sync`, online runs and the registry need, and keeps
what comes.
"""

import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests import http_server
from tests.http_server import Handler
from tests.tracking.wandb_artifacts import Artifacts, Refused

ME = {"id": "e", "name": "me"}


@dataclass
class Run:
    """What has come of a run: the lines of its history by their place, and the files that it has sent."""

    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    ends: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        return [line for _, line in sorted(self.lines.items())]

    def of(self, name: str) -> list[tuple[int, Any]]:
        """(training step, value) of every line that holds `name`, in the order of the lines."""
        return [(line["step"], line[name]) for line in self.history if name in line]


class Server(Artifacts):
    """Attributes:
    runs: by id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    @property
    def environment(self) -> dict[str, str]:
        """What lets a client find it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "x" * 40}

    def take(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to what a client has posted."""
        with self._lock:
            if path.endswith("/file_stream"):
                return self._stream(path.split("/")[-2], body)
            found = re.search(r"(?:query|mutation)\s+(\w+)", body.get("query", ""))
            answer = getattr(self, f"_{found[1]}", None) if found else None
            try:
                return {"data": answer(body.get("variables") or {}) if answer else {}}
            except Refused as refused:
                return {"errors": [{"message": str(refused)}], "data": None}

    def _stream(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(name, Run())
        told = (body.get("files") or {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        for place, line in enumerate(told["content"], told["offset"]):
            run.lines[place] = json.loads(line)
        run.files |= set(body.get("uploaded") or [])
        run.ends += bool(body.get("complete"))
        return {"exitcode": None, "limits": {}}

    def _Viewer(self, asked: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer}

    def _UpsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked.get("name") or "unnamed"
        known = name in self.runs
        run = self.runs.setdefault(name, Run())
        bucket = {
            "id": b64encode(name.encode()).decode(),
            "name": name,
            "displayName": asked.get("displayName") or name,
            "description": "",
            "config": asked.get("config") or "{}",
            "sweepName": None,
            "historyLineCount": len(run.lines),
            "project": {"id": "p", "name": asked.get("project") or "lorakiln", "entity": ME},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": not known}}

    def _RunResumeStatus(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(asked.get("name"))
        if run is None or not run.lines:
            return {"model": {"bucket": None}}
        last = run.history[-1]
        bucket = {
            "id": "b",
            "name": asked["name"],
            "displayName": asked["name"],
            "config": "{}",
            "tags": [],
            "summaryMetrics": json.dumps({"_step": last["_step"]}),
            "wandbConfig": '{"t": 1}',
            "logLineCount": 0,
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(last)]),
            "eventsTail": "[]",
        }
        return {"model": {"id": "p", "name": "lorakiln", "entity": ME, "bucket": bucket}}

    def _CreateRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/{place}"} for place, name in enumerate(asked["files"])]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Answers(Handler):
        def do_GET(self) -> None:
            stored = server.get(self.path)
            self.answer({} if stored is None else stored)

        def do_PUT(self) -> None:
            server.put(self.path, self.read())
            self.answer({})

        def do_POST(self) -> None:
            body = self.read()
            self.answer(server.take(self.path, json.loads(body) if body[:1] == b"{" else {}))

    with http_server.serving(Answers) as listening:
        server.url = http_server.address_of(listening)
        yield server
