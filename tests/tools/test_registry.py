"""`lorakiln promote` and `lorakiln fetch`, by W&B's own client, against a stand-in of its server."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import read_metadata
from lorakiln.cli import main
from tests.http_server import Handler, address_of
from tests.http_server import serving as serving_http
from tests.tracking.wandb_artifacts import ORGANIZATION
from tests.tracking.wandb_server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
SHORT = [
    "caption=none",
    "train.steps=4",
    "train.save_every=2",
    "train.samples.every=0",
    "export.which=2",
    "export.precision=fp32",
    "export.strength=0.5",
]
# What is drawn for the report, as little as can be.
SEEN = [
    "train/tracker=csv",
    "evaluate.prompts=['a cat']",
    "evaluate.seeds=[0]",
    "evaluate.steps=2",
    "evaluate.weights=[0,1]",
    "evaluate.between=[]",
]


@pytest.fixture
def server():
    with serving() as started:
        yield started


class Commands:
    """The programs in a home without an account; each returns (its status, what it printed, what it complained of)."""

    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        plain = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        more = {"HOME": folder, "NETRC": folder / "netrc", "WANDB_DIR": folder, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        self.environment = plain | {name: str(value) for name, value in more.items()}

    def run(self, module, *arguments, **environment):
        done = subprocess.run(
            [str(self.programs / "python"), "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def lorakiln(self, *arguments, **environment):
        return self.run("lorakiln", *arguments, **environment)

    def train(self, *overrides):
        status, printed, said = self.run("train", *overrides)
        assert status == 0, printed + said


@pytest.fixture(scope="module")
def trained(tmp_path_factory, preloaded):
    """A run's folder, of which an earlier step than the last was exported."""
    folder = tmp_path_factory.mktemp("trained")
    place = [f"paths.cache={folder}/cache", f"hydra.run.dir={folder}/run"]
    Commands(folder, preloaded).train("+experiment=smoke", *SHORT, *SEEN, *place)
    return folder / "run"


@pytest.fixture
def commands(tmp_path, preloaded):
    return Commands(tmp_path, preloaded)


def promote(commands, server, *arguments):
    status, printed, said = commands.lorakiln("promote", *arguments, **server.environment)
    assert status == 0, said
    return printed


def test_a_colleague_gets_what_was_promoted_and_makes_it_again(tmp_path, commands, trained, server):
    printed = promote(commands, server, trained, "our-cats", "--alias", "production")
    assert "our-cats:v0 (latest, production) in the registry model" in printed
    assert f"{server.url}/orgs/" in printed and "selectionPath=our-lab_registry%2Fwandb-registry-model" in printed
    file, facts = trained / "lora/demo_style.safetensors", server.find_link("our-cats", "production")
    told = json.loads(facts.metadata)
    assert set(facts.files) == {"demo_style.safetensors", "experiment.yaml", "provenance.json"}
    assert facts.files["demo_style.safetensors"] == file.read_bytes()
    assert (told["step"], told["base"], told["files"]["demo_style.safetensors"]) == (2, "sd_v1", hash_file(file))
    assert told["commit"] == (read_json(trained / "run/provenance.json")["git"] or {}).get("commit")
    # Whoever fetches it learns nothing of the machine.
    everything = b"".join(facts.files.values()) + facts.metadata.encode()
    assert str(trained).encode() not in everything and not {"host", "command", "platform"} & set(told)

    home = tmp_path / "colleague"
    status, printed, said = commands.lorakiln("fetch", "our-cats:production", "--out", home, **server.environment)
    assert status == 0, said
    assert (home / "demo_style.safetensors").read_bytes() == file.read_bytes()
    assert f"SHA-256      {hash_file(file)}" in printed and f"git checkout {told['commit']}" in printed
    assert f"lorakiln compare {home}/demo_style.safetensors FILE" in printed
    source, target, experiment = re.search(r"cp (\S+) (\S+) && python -m train (\S+)", printed).groups()
    assert target == "conf/experiment/our_cats.yaml"
    (tmp_path / "conf/experiment").mkdir(parents=True)
    shutil.copy(source, tmp_path / target)
    place = [f"paths.cache={tmp_path}/cache", f"hydra.run.dir={tmp_path}/again"]
    commands.train("--config-dir", tmp_path / "conf", experiment, *place, *SEEN)
    assert (tmp_path / "again/lora/demo_style.safetensors").read_bytes() == file.read_bytes()


def test_it_is_logged_by_the_run_that_made_it_and_comes_once(tmp_path, commands, trained, server):
    shutil.copytree(trained, tmp_path / "run")
    record = {"kind": "wandb", "id": "abc123", "project": "cats", "entity": "me", "url": "https://x", "group": "g"}
    write_json(tmp_path / "run/run/tracker.json", record | {"folder": str(tmp_path), "upload_images": False})
    promote(commands, server, tmp_path / "run/lora", "our-cats")
    version = server.find_link("our-cats")
    assert (version.run, version.home.entity, version.home.project) == ("abc123", "me", "cats")
    told = json.loads(version.metadata)
    assert told["run"] == "me/cats/abc123"
    # W&B's pages show no words where they are to stay at home.
    assert "trigger" not in told and "outline style" not in version.metadata
    # The same once more is the same version, and may be called more.
    assert "our-cats:v0 (good, latest)" in promote(commands, server, tmp_path / "run", "our-cats", "--alias", "good")
    assert [set(server.runs), len(server.versions)] == [{"abc123"}, 1]


def write_foreign(path, width=8, base="sd_v1"):
    """A LoRA of one layer, with no word of how it was trained."""
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{name}.lora_{end}.weight": torch.ones(shape) for end, shape in (("down", (2, 8)), ("up", (8, 2)))}
    save_file({**tensors, f"{name}.alpha": torch.tensor(float(width))}, path, {"ss_base_model_version": base})
    return path


def test_a_file_from_elsewhere_has_versions_too(tmp_path, commands, server):
    promote(commands, server, write_foreign(tmp_path / "a.safetensors"), "theirs")
    promote(
        commands, server, write_foreign(tmp_path / "b.safetensors", width=2), "theirs", "--organization", ORGANIZATION
    )
    status, printed, _ = commands.lorakiln("fetch", "theirs", "--out", tmp_path / "got", **server.environment)
    assert status == 0 and "theirs:v1 (latest)" in printed and "the file does not tell its settings" in printed
    assert {path.name for path in (tmp_path / "got").iterdir()} == {"b.safetensors", "provenance.json"}
    # An older one takes its place only if that is asked for.
    older = ["fetch", "theirs:v0", "--out", tmp_path / "got"]
    status, _, said = commands.lorakiln(*older, **server.environment)
    assert status == 1 and "is there already" in said and (tmp_path / "got/b.safetensors").exists()
    assert commands.lorakiln(*older, "--overwrite", **server.environment)[0] == 0
    assert load_file(tmp_path / "got/a.safetensors")
    # A LoRA for another base would not load for those who use the name.
    other = write_foreign(tmp_path / "c.safetensors", base="sdxl_base_v1-0")
    status, _, said = commands.lorakiln("promote", other, "theirs", **server.environment)
    assert status == 1 and "another base" in said and "give another NAME" in said
    assert len(server.find_link("theirs").home.versions) == 2


def refuse(commands, *arguments, **environment):
    status, _, said = commands.lorakiln(*arguments, **environment)
    assert status == 1, said
    return said


def test_what_is_not_there_is_told_with_what_is(tmp_path, commands, server):
    out = ["--out", tmp_path / "got"]
    file = write_foreign(tmp_path / "a.safetensors")
    assert "`lorakiln promote`" in refuse(commands, "fetch", "theirs", *out, **server.environment)
    promote(commands, server, file, "theirs", "--alias", "good")
    said = refuse(commands, "fetch", "their", *out, **server.environment)
    assert "nothing is called 'their'" in said and "fix: there is theirs" in said
    said = refuse(commands, "fetch", "theirs:best", *out, **server.environment)
    assert "theirs has no 'best'" in said and "fix: there is good, latest" in said
    said = refuse(commands, "promote", file, "theirs", "--registry", "loras", **server.environment)
    assert "registry loras" in said and "see that --registry" in said
    # Changed on its way, or there: nothing is written.
    version = server.find_link("theirs")
    version.files["a.safetensors"] = version.files["a.safetensors"][:-1] + b"x"
    said = refuse(commands, "fetch", "theirs", *out, **server.environment)
    assert "a.safetensors is not what was promoted: its SHA-256 is" in said and "fetch it again" in said
    assert not (tmp_path / "got").exists()


def complain(capsys, *arguments):
    assert main([*map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_names_that_are_none_are_told_without_asking(tmp_path, capsys):
    file, out = write_foreign(tmp_path / "a.safetensors"), ["--out", tmp_path / "got"]
    said = complain(capsys, "promote", file, "our cats/1")
    assert "'our cats/1' is no name" in said and ": our_cats_1" in said
    assert "'gut?' is no alias" in complain(capsys, "promote", file, "cats", "--alias", "gut?")
    assert "is no registry" in complain(capsys, "fetch", "cats", "--registry", "a/b", *out)
    assert "'a:b' is no alias" in complain(capsys, "fetch", "cats:a:b", *out)
    assert "no LoRA is here" in complain(capsys, "promote", tmp_path, "cats")


def test_a_file_that_is_not_what_was_exported_is_refused(tmp_path, capsys, trained):
    shutil.copytree(trained / "lora", tmp_path / "lora")
    file = tmp_path / "lora/demo_style.safetensors"
    save_file(load_file(file), file, read_metadata(file) | {"note": "changed"})
    for what in (tmp_path / "lora", file):
        assert "is not the file that was exported" in complain(capsys, "promote", what, "cats")


def test_offline_and_without_a_key_it_says_what_to_do(tmp_path, commands, server):
    fetching = ["fetch", "cats", "--out", tmp_path / "got"]
    promoting = ["promote", write_foreign(tmp_path / "a.safetensors"), "cats"]
    for arguments in (promoting, fetching):
        assert "run `wandb login`" in refuse(commands, *arguments)
    said = refuse(commands, *promoting, **server.environment, WANDB_MODE="offline")
    assert "W&B is set to be offline" in said and "unset WANDB_MODE" in said
    (tmp_path / ".config/wandb").mkdir(parents=True, exist_ok=True)
    (tmp_path / ".config/wandb/settings").write_text("[default]\nmode = offline\n")  # as `wandb offline` does
    assert "run `wandb online`" in refuse(commands, *fetching, **server.environment)
    assert not server.runs


def test_a_key_that_is_refused_is_told(tmp_path, commands):
    class Refuses(Handler):
        def do_POST(self):
            self.read()
            self.answer({"errors": [{"message": "user is not logged in"}]}, status=401)

        do_GET = do_POST

    with serving_http(Refuses) as listening:
        keys = {"WANDB_BASE_URL": address_of(listening), "WANDB_API_KEY": "x" * 40}
        said = refuse(commands, "fetch", "cats", "--out", tmp_path / "got", **keys)
    assert "W&B did not let us in" in said and "user is not logged in" in said and "wandb login --relogin" in said
