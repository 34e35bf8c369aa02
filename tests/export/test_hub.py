"""What goes to the Hugging Face Hub, with the hub's own client, to a server that stands in for the hub."""

import base64
import json

import pytest

from lorakiln.cli import main
from lorakiln.console.errors import UserError
from lorakiln.export.hub import plan_upload
from tests.http_server import Handler, address_of, serving

FILES = {
    "README.md": "card",
    "cat.safetensors": "weights",
    "cat.json": "{}",
    "cat.png": "x",
    "facts.json": "{}",
    "diffusers/pytorch_lora_weights.safetensors": "weights",
    "diffusers/adapter_config.json": "{}",
    "previews/0.png": "x",
    "notes.txt": "mine",
}
SENT = sorted(set(FILES) - {"facts.json", "notes.txt"})


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "lora" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "lora"


@pytest.fixture
def hub(monkeypatch):
    """A hub that takes everything as small files, and what it was sent: {"repo": ..., "files": {...}}."""
    got = {"files": {}, "status": 200}

    class Hub(Handler):
        def do_POST(self):
            body = self.read().decode()
            answer = {}
            if got["status"] != 200:
                answer = {"error": "no right to write"}
            elif self.path == "/api/repos/create":
                got["repo"] = json.loads(body)
                answer = {"url": f"http://{self.headers['Host']}/me/cat"}
            elif "/preupload/" in self.path:
                wanted = json.loads(body)["files"]
                answer = {
                    "files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in wanted]
                }
            elif "/commit/" in self.path:
                got["token"] = self.headers["Authorization"]
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        got["files"][line["value"]["path"]] = base64.b64decode(line["value"]["content"]).decode()
                answer = {
                    "commitUrl": f"http://{self.headers['Host']}/me/cat/commit/1",
                    "commitOid": "1",
                    "success": True,
                }
            self.answer(answer, got["status"])

        def do_GET(self):
            self.answer({}, 404)

    with serving(Hub) as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address_of(server))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield got


def test_what_others_can_use_is_sent_and_nothing_else(folder, hub, capsys):
    assert main(["push", str(folder), "me/cat"]) == 0
    assert hub["files"] == {name: FILES[name] for name in SENT}
    assert hub["repo"]["name"] == "cat" and hub["repo"]["organization"] == "me"
    # Releases 1 and 2 of the client say it differently.
    assert hub["repo"].get("visibility") == "private" or hub["repo"].get("private")
    assert hub["token"] == "Bearer hf_test"
    assert capsys.readouterr().out.splitlines()[-1].endswith("/me/cat")


def test_a_dry_run_sends_nothing(folder, hub, capsys):
    assert main(["push", str(folder), "me/cat", "--public", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[1:-1]] == SENT
    assert "seen by everyone" in printed and "nothing was sent" in printed
    assert "repo" not in hub and not hub["files"]


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("---\nbase_model: models/tiny/sd\n---\n", "its base_model is 'models/tiny/sd', no model of the hub"),
        (
            "---\nbase_model:\n- me/cat\n- /home/me/x.safetensors\n---\n",
            "'/home/me/x.safetensors', no model of the hub",
        ),
        ("---\nbase_model: {a: b}\n---\n", "no model of the hub"),
        ("---\nbase_model: [\n---\n", "its front matter is no YAML"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_card_that_the_hub_refuses_is_told_before_anything_is_sent(folder, hub, capsys, card, said, options):
    (folder / "README.md").write_text(card)
    assert main(["push", str(folder), "me/cat", *options]) == 1
    told = capsys.readouterr()
    assert said in told.err and "README.md" in told.err and "fix: " in told.err
    assert [line.split()[0] for line in told.out.splitlines()[1:]] == SENT
    assert "repo" not in hub and not hub["files"]


@pytest.mark.parametrize(
    "card", ["---\nbase_model: me/cat\n---\n", "---\nbase_model:\n- me/cat\n---\n", "---\nx: 1\n---\n"]
)
def test_a_card_with_a_hubs_model_is_sent(folder, hub, card):
    (folder / "README.md").write_text(card)
    assert main(["push", str(folder), "me/cat"]) == 0 and hub["files"]["README.md"] == card


def test_a_refusal_is_told(folder, hub, capsys):
    hub["status"] = 403
    assert main(["push", str(folder), "me/cat"]) == 1
    told = capsys.readouterr().err
    assert "the hub refused: " in told and "your token may write there" in told


def test_without_a_token_the_way_to_one_is_told(folder, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main(["push", str(folder), "me/cat"]) == 1
    assert "hf auth login" in capsys.readouterr().err


def test_what_is_no_export_or_no_repository_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="not an exported LoRA"):
        plan_upload(tmp_path, "me/cat")
    for name in ("cat", "me/", "a/b/c"):
        with pytest.raises(UserError, match="no repository of the hub"):
            plan_upload(folder, name)
