"""Weights as the hub takes them, apart from the commit (Git LFS), from the `lorakiln push` of a user."""

import hashlib
import json
import os
import subprocess
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.http_server import Handler, address_of, serving

ROOT = Path(__file__).parents[2]
WEIGHTS = bytes(range(256)) * 8192  # 2 MiB


class Hub(ThreadingHTTPServer):
    """A hub that stores weights by their hash.

    Attributes:
        stored: what was sent to the store, by hash.
        commits: the files that each commit names: {name: hash or text}.
    """

    def __init__(self, *where):
        super().__init__(*where)
        self.stored, self.commits, self.repositories = {}, [], []


class Answers(Handler):
    def do_POST(self):
        hub, body = self.server, self.read()
        if self.path == "/api/repos/create":
            known = hub.repositories.count("me/cat")
            hub.repositories.append("me/cat")
            self.answer({"url": f"{address_of(hub)}/me/cat"}, 409 if known else 200)
        elif self.path == "/api/validate-yaml":  # the card's front matter
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            self.answer(
                {"files": [{"path": one, "uploadMode": mode, "shouldIgnore": False} for one, mode in modes.items()]}
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{address_of(hub)}/store/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            named = [line["value"] for line in lines if line["key"] in ("file", "lfsFile")]
            hub.commits.append({one["path"]: one.get("oid") or one["content"] for one in named})
            url = f"{address_of(hub)}/me/cat/commit/1"
            self.answer({"commitUrl": url, "commitOid": "1", "success": True})
        else:
            self.answer({"error": "unknown"}, 404)

    def do_PUT(self):
        content = self.read()
        self.server.stored[self.path.rpartition("/")[2]] = content
        self.answer({})

    def do_GET(self):
        self.answer({"error": "not here"}, 404)


@pytest.fixture
def hub():
    with serving(Answers, Hub) as server:
        yield server


def push(hub, folder, home):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": address_of(hub),
        "HF_TOKEN": "hf_test",
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(ROOT / "src"),
    }
    return subprocess.run(
        [sys.executable, "-m", "lorakiln", "push", str(folder), "me/cat"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.slow
def test_weights_go_to_the_store_and_a_second_push_is_a_second_commit(hub, tmp_path):
    folder = tmp_path / "lora"
    (folder / "diffusers").mkdir(parents=True)
    (folder / "README.md").write_text("card")
    (folder / "facts.json").write_text("{}")
    (folder / "cat.safetensors").write_bytes(WEIGHTS)
    (folder / "diffusers" / "pytorch_lora_weights.safetensors").write_bytes(WEIGHTS[::-1])
    first = push(hub, folder, tmp_path / "home")
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.splitlines()[-1] == f"sent: {address_of(hub)}/me/cat"
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in (("a", WEIGHTS), ("b", WEIGHTS[::-1]))}
    assert hub.stored == {sums["a"]: WEIGHTS, sums["b"]: WEIGHTS[::-1]}
    (commit,) = hub.commits
    assert set(commit) == {"README.md", "cat.safetensors", "diffusers/pytorch_lora_weights.safetensors"}
    assert commit["cat.safetensors"] == sums["a"]
    # The repository is there by now: the newer weights go into it.
    (folder / "cat.safetensors").write_bytes(WEIGHTS[1:])
    again = push(hub, folder, tmp_path / "home")
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(hub.commits) == 2 and hub.commits[1]["cat.safetensors"] == hashlib.sha256(WEIGHTS[1:]).hexdigest()
