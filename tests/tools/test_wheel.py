"""The `lorakiln` command from a built package, in an empty folder: nothing of the checkout is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from PIL import Image

from lorakiln.cli import app
from lorakiln.lora_files.writing import write_lora
from tests.conftest import write_micro_model
from tests.lora_files.conftest import random_adapter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
# In one process, since each import of torch takes seconds: the status and the last lines of each command.
PROGRAM = """
import contextlib, io, json, sys
import lorakiln
from lorakiln.cli import main
told = [lorakiln.__file__]
for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(arguments)
    told.append([status, said.getvalue()])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package alone, built from what git has."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "-co", "--exclude-standard", "-z", "src", "conf", "pyproject.toml", "setup.py"]
    names = subprocess.run([*listed, "README.md", "LICENSE"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, names.stdout.split("\0")):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")]
    for command in (wheel, ["install", "--no-deps", "--target", str(folder / "site")]):
        found = [str(path) for path in folder.glob("*.whl")] if command[0] == "install" else []
        done = subprocess.run([*PIP, *command, *found], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    return folder / "site"


@pytest.fixture
def empty(tmp_path, micro_family):
    """An empty folder, and beside it what a user has: a base model, one trained from it, two LoRA files, an export."""
    for name, seed in (("base", 0), ("tuned", 1)):
        write_micro_model(tmp_path / "mine" / name, seed)
    for name in ("style", "dog"):
        write_lora(random_adapter(micro_family), tmp_path / "mine" / f"{name}.safetensors", "kohya")
    (tmp_path / "mine" / "lora").mkdir()
    (tmp_path / "mine" / "lora" / "README.md").write_text("card")
    (tmp_path / "mine" / "lora" / "style.safetensors").write_bytes((tmp_path / "mine/style.safetensors").read_bytes())
    (tmp_path / "mine" / "pictures").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "mine" / "pictures" / "a.png")
    (tmp_path / "mine" / "pictures" / "a.txt").write_text("a red thing")
    (tmp_path / "mine" / "theirs.toml").write_text("network_dim = 8\n")
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def run(installed, folder, *commands):
    """The file that the package was imported from, and each command's status and words."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
        "WANDB_API_KEY": "",
    }
    arguments = json.dumps([[str(one) for one in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        input=arguments,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_every_command_works_in_an_empty_folder(installed, empty):
    mine = empty.parent / "mine"
    pictures = mine / "pictures"
    style, dog, base, tuned = (mine / name for name in ("style.safetensors", "dog.safetensors", "base", "tuned"))
    commands = [
        ("inspect", style),
        ("convert", style, "a.safetensors", "--to", "diffusers"),
        ("resize", style, "b.safetensors", "--rank", "1"),
        ("merge", style, f"{dog}:0.5", "--out", "c.safetensors"),
        ("merge", style, "--into", base, "--out", "d"),
        ("extract", base, tuned, "e.safetensors", "--rank", "2"),
        ("push", mine / "lora", "me/style", "--dry-run"),
        ("generate", "a red cat", "--base", base, "--lora", style, "--out", "f", "--steps", "2"),
        ("convert", base, "g", "--precision", "fp16"),
        ("regularise", "a cat", "--base", base, "--out", "reg", "--count", "1", "--steps", "2"),
        ("crop", pictures, "--size", "32x32", "--out", "cropped"),
        ("captions", "stats", pictures),
        ("import", mine / "theirs.toml"),
        ("clean",),
    ]
    where, *told = run(installed, empty, *commands)
    assert Path(where).is_relative_to(installed)
    for command, (status, said) in zip(commands, told, strict=True):
        assert status == 0, (command, said)
    assert sorted(path.name for path in empty.iterdir() if path.name != "hub") == [
        "a.safetensors",
        "b.safetensors",
        "c.safetensors",
        "cropped",
        "d",
        "e.safetensors",
        "f",
        "g",
        "reg",
    ]
    assert (empty / "f" / "0000.png").is_file()
    # Those that need a project, an account or the embedded model say so.
    refused = {
        ("compare", style, dog): "run this in the project's folder",
        ("blind", style, dog): "run this in the project's folder",
        ("new", "mine", "--pictures", pictures): "run it in a checkout of LoRAKiln",
        ("review", "mine"): "datasets here: none; or name a folder",
        ("promote", style, "cats"): "wandb login",
        ("fetch", "cats", "--out", "h"): "wandb login",
        ("doctor",): "give --model one of sd15",
    }
    _, *answers = run(installed, empty, *refused)
    for (command, expected), (status, said) in zip(refused.items(), answers, strict=True):
        assert status == 1 and expected in said and "Traceback" not in said, (command, said)
    assert {command[0] for command in (*commands, *refused)} == set(typer.main.get_command(app).commands)


def test_training_from_it_names_the_checkout(installed, empty):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "train", "+experiment=smoke"]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "there is no conf/: training needs the project's checkout" in done.stderr


def test_the_known_models_came_along_but_the_embedded_one(installed, empty):
    names = {file.stem: yaml.safe_load(file.read_text()) for file in (installed / "lorakiln/conf/model").glob("*.yaml")}
    assert set(names) == {file.stem for file in (ROOT / "conf/model").glob("*.yaml")} - {"tiny"}
    assert names["sdxl"] == yaml.safe_load((ROOT / "conf/model/sdxl.yaml").read_text())
    _, (one, unreached), (other, embedded) = run(
        installed, empty, ("generate", "a", "--model", "sd15", "--out", "x"), ("generate", "a", "--out", "x")
    )
    # It knows which model is meant, and there is no network here.
    assert one == 1 and "stable-diffusion-v1-5/stable-diffusion-v1-5" in unreached and "Traceback" not in unreached
    assert other == 1 and "the embedded model is not here" in embedded and "--base" in embedded
    assert "give --model one of sd15, sd21, sd21_v, sdxl" in embedded
