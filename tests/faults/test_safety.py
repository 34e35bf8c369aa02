"""What docs/security.md promises: no code from data, no secret in what is written."""

import ast
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.secrets import check_no_secrets
from pipelines.compose import compose_config

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for folder in ("src", "pipelines", "recipes") for file in (ROOT / folder).rglob("*.py"))
# Calls that can run what a file says.
UNSAFE = {
    "eval",
    "exec",
    "compile",
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
    "joblib.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "shutil.unpack_archive",
    "hydra.utils.instantiate",
}


def calls_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}, node


def test_nothing_in_the_code_runs_what_a_file_says():
    assert len(SOURCES) > 80
    for path in SOURCES:
        for name, options, node in calls_of(path):
            where = f"{path}:{node.lineno}"
            assert name not in UNSAFE, where
            if name.endswith(".extractall"):
                assert options.get("filter") == "'data'", where
            if name == "torch.load":
                assert options.get("weights_only") == "True", where
            if name in ("np.load", "numpy.load"):
                assert options.get("allow_pickle", "False") == "False", where
            if name == "yaml.load":
                assert "Loader" in ast.unparse(node.args[1]) and "SafeLoader" in path.read_text(), where
            assert options.get("trust_remote_code", "False") == "False", where
            assert options.get("shell", "False") == "False", where


def test_no_class_is_named_by_the_config():
    for path in (ROOT / "conf").rglob("*.yaml"):
        text = path.read_text()
        # Hydra's own groups name its plug-ins, which are ours.
        named = [line.split()[-1] for line in text.splitlines() if "_target_" in line]
        hydras = path.is_relative_to(ROOT / "conf" / "hydra")
        assert all(hydras and name.startswith("hydra_plugins.lorakiln_") for name in named), path
        assert "oc.env" not in text
    with pytest.raises(ConfigError, match="_target_: unknown setting"):
        from lorakiln.schema.whole_config import check_whole

        check_whole(compose_config(["+experiment=smoke", "+train._target_=os.system"]))


EVIL = """
from pathlib import Path
Path("owned").touch()
class Evil: pass
"""


def test_code_in_a_model_folder_is_not_run(tmp_path, monkeypatch):
    import torch

    from lorakiln.captioners.blip.model import Blip
    from lorakiln.families import load_family
    from lorakiln.schema.model import ModelSettings

    monkeypatch.chdir(tmp_path)
    blip, sd = tmp_path / "blip", tmp_path / "sd"
    shutil.copytree(ROOT / "models/tiny/blip", blip)
    shutil.copytree(ROOT / "models/tiny/sd", sd)
    (blip / "evil.py").write_text(EVIL)
    for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
        config = json.loads((blip / name).read_text())
        classes = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor", "AutoImageProcessor")
        config["auto_map"] = dict.fromkeys(classes, "evil.Evil")
        config["_target_"] = "os.system"
        (blip / name).write_text(json.dumps(config))
    Blip.load(blip, torch.device("cpu"))
    (sd / "unet" / "evil.py").write_text(EVIL)
    index = json.loads((sd / "model_index.json").read_text())
    index["unet"] = ["evil", "Evil"]
    (sd / "model_index.json").write_text(json.dumps(index))
    source = {"path": str(blip)}
    model = ModelSettings(
        family="sd",
        path=str(sd),
        resolution=64,
        bucket_min=32,
        bucket_max=128,
        bucket_step=16,
        captioner=source,
        clip=source,
    )
    load_family(model, ("network",))
    assert not (tmp_path / "owned").exists()


class Pickled:
    def __reduce__(self):
        return os.mkdir, ("owned",)


def test_pickles_are_not_read(tmp_path, monkeypatch):
    import pickle

    from lorakiln.families import load_family
    from lorakiln.schema.model import ModelSettings

    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "models/tiny/sd", "sd")
    Path("sd/unet/diffusion_pytorch_model.safetensors").unlink()
    Path("sd/unet/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Pickled()))
    source = {"path": "sd"}
    model = ModelSettings(
        family="sd",
        path="sd",
        resolution=64,
        bucket_min=32,
        bucket_max=128,
        bucket_step=16,
        captioner=source,
        clip=source,
    )
    with pytest.raises(UserError, match="no safetensors weights"):
        load_family(model, ("network",))
    assert not Path("owned").exists()


SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_ThisIsNoTokenButLooksLikeOne0000",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYplanted",
    "MY_PASSWORD": "correct-horse-battery-planted",
}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (SECRETS["WANDB_API_KEY"], "the value of the environment's WANDB_API_KEY"),
        ("x" + SECRETS["MY_PASSWORD"], "the value of the environment's MY_PASSWORD"),
        ("hf_AnotherTokenThatNobodyPlanted00", "a Hugging Face token"),
        ("https://me:word@example.org/models", "a password in an address"),
    ],
)
def test_a_secret_in_the_config_is_refused_and_not_repeated(monkeypatch, value, kind):
    for name, planted in SECRETS.items():
        monkeypatch.setenv(name, planted)
    with pytest.raises(ConfigError) as caught:
        check_no_secrets({"train": {"tracker": {"tags": ["fine", value]}}})
    assert f"train.tracker.tags.1: holds {kind}" in str(caught.value)
    assert value not in str(caught.value)
    # A commit of a model is no secret.
    check_no_secrets({"model": {"revision": "9" * 40, "path": "owner/name"}})


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_no_planted_key_in_anything_that_a_run_writes(tmp_path, preloaded):
    """Through the second door, all stages, recorded by W&B's client, offline."""
    project = tmp_path / "project"
    project.mkdir()
    arguments = [
        "+experiment=smoke",
        "caption=none",
        "hydra.run.dir=run",
        "paths.cache=cache",
        f"paths.raw={ROOT / 'data/raw'}",
        f"model.path={ROOT / 'models/tiny/sd'}",
        f"model.clip.path={ROOT / 'models/tiny/clip'}",
        "train.steps=2",
        "train/tracker=wandb",
        "train.samples.every=0",
        "train.checkpoint_every=1",
    ]
    # Without what W&B's client has left in the environment of this process, such as its service's address.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment = {
        **inherited,
        **SECRETS,
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(project),
    }
    done = subprocess.run(
        [preloaded / "python", "-m", "train", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:].decode()
    files = [path for path in project.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"demo_style.safetensors", "report.html", "provenance.json", "config.yaml"} <= names
    assert any(path.suffix == ".wandb" for path in files), "W&B recorded nothing"
    assert any(path.parent.parent.name == "checkpoints" for path in files)
    for content in [done.stdout, done.stderr, *(path.read_bytes() for path in files)]:
        assert not any(secret.encode() in content for secret in SECRETS.values())
