"""Fetching a base model with the hub's own client, from a server that stands in for the hub."""

import hashlib
from urllib.parse import unquote, urlsplit

import pytest

from lorakiln.console.errors import UserError
from lorakiln.families.model_source import find_model_folder
from tests.http_server import Handler, address_of, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "model_index.json": b"{}",
    "unet/config.json": b'{"in_channels": 4}',
    "unet/diffusion_pytorch_model.safetensors": b"all of it",
    "unet/diffusion_pytorch_model.fp16.safetensors": b"half of it",
    "unet/diffusion_pytorch_model.bin": b"a pickle",
    "README.md": b"a card",
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with the models owner/open, owner/gated, owner/broken (hangs up); and the paths that it was asked for."""
    asked = []

    class Hub(Handler):
        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            asked.append(path)
            if "owner/gated" in path:
                return self.answer({}, 403, X_Error_Code="GatedRepo", X_Error_Message="accept the terms")
            if "owner/broken" in path:
                return None  # says nothing and hangs up
            if "owner/open" not in path:
                return self.answer({}, 404, X_Error_Code="RepoNotFound", X_Error_Message="no such repository")
            if path.startswith("/api/models/owner/open/revision/"):
                if path.rsplit("/", 1)[1] not in ("main", COMMIT):
                    return self.answer({}, 404, X_Error_Code="RevisionNotFound", X_Error_Message="no such revision")
                told = {"id": "owner/open", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]}
                return self.answer(told)
            if path == f"/api/models/owner/open/tree/{COMMIT}":
                told = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in FILES.items()]
                return self.answer(told)
            body = FILES[path.split(f"/resolve/{COMMIT}/")[1]]
            etag = f'"{hashlib.sha256(body).hexdigest()}"'
            return self.answer(body, ETag=etag, X_Repo_Commit=COMMIT)

        do_HEAD = do_GET

    with serving(Hub) as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address_of(server))
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            f"{address_of(server)}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield asked


def test_only_what_is_needed_is_fetched_and_then_kept(hub, monkeypatch):
    folder = find_model_folder("owner/open", None, ["unet/*.json", "unet/*model.fp16.safetensors"])
    fetched = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    wanted = ("unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors")
    assert fetched == {name: FILES[name] for name in wanted}
    assert not any(path.endswith((".bin", ".md")) for path in hub)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.clear()
    assert find_model_folder("owner/open", None, ["unet/*.json"]) == folder
    assert not hub


def test_a_commit_names_its_own_files(hub):
    assert find_model_folder("owner/open", COMMIT, ["*.json"]).name == COMMIT
    with pytest.raises(UserError, match="no revision 'old'"):
        find_model_folder("owner/open", "old", ["*.json"])


def test_a_gated_model_says_how_to_get_it(hub):
    with pytest.raises(UserError, match=r"accept this model's terms.*\n.*owner/gated, then run `hf auth login`"):
        find_model_folder("owner/gated", None, ["*.json"])


def test_a_model_that_the_hub_does_not_have(hub):
    with pytest.raises(UserError, match="no such model on the hub"):
        find_model_folder("owner/none", None, ["*.json"])


def test_a_connection_that_breaks_off(hub):
    with pytest.raises(UserError, match="the download failed.*\n.*try again"):
        find_model_folder("owner/broken", None, ["*.json"])
    assert hub
