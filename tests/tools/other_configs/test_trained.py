"""What was imported trains: a config of each program, on a reduced base of the family that it is for."""

import json

import pytest

from lorakiln.runs import make_dataset
from lorakiln.tools.other_configs.translation import translate_file
from lorakiln.train import train
from tests.small_runs import SmallRuns
from tests.tools.other_configs.test_translation import CONFIGS

# A run of two steps on pictures that all have the same size: what is said of their making is left as it is by default.
SHORT = [
    "prepare.resolution=64",
    "prepare.bucket.min=32",
    "prepare.bucket.max=128",
    "prepare.bucket.step=32",
    "prepare.bucket.enable=true",
    "caption.extensions=[.txt]",
    "encode.flip=false",
    "encode.max_tokens=75",
    "train.steps=2",
    "train.epochs=null",
    "train.scheduler.warmup_steps=0",
    "train.scheduler.warmup_fraction=0",
    "train.samples.every=0",
    "train.samples.file=null",
    "train.validation.every=0",
    "train.trainer.precision=fp32",
    "train.trainer.quantize=none",
]


@pytest.fixture(scope="module")
def small_runs(tmp_path_factory):
    return SmallRuns(tmp_path_factory.mktemp("imported"))


# One of each program's; all of them compose (test_translation.py).
@pytest.mark.parametrize(
    "name", ["windows.bat", "easy.toml", "gui.json", "diffusers.sh", "onetrainer.json", "ai_toolkit.yaml"]
)
def test_an_imported_config_trains(name, small_runs, compose_imported, tmp_path):
    _, imported = translate_file(CONFIGS / name)
    kind = imported.choices["model"]
    words = imported.settings.get("train.tokens", {})
    for one in words.values():
        # A reduced base's tokenizer reads letters: a word to begin with has more tokens than it is to have vectors.
        one["init"] = one["init"][0]
    trigger = [f'caption.trigger="{word}"' for word in words]
    config = compose_imported(imported, *small_runs.overrides(kind), *trigger, *SHORT)
    train(make_dataset(config) / "encoded", tmp_path / "run", config.train, config.model, tmp_path / "checkpoints")
    facts = json.loads((tmp_path / "run/facts.json").read_text())
    adapter = imported.settings["train.adapter.rank"]
    assert (facts["step"], facts["rank"]) == (2, adapter)
    assert facts.get("tokens") == ({word: one["vectors"] for word, one in words.items()} or None)
    assert facts["settings"]["train"]["optimizer"]["kind"] == imported.choices.get("train/optimizer", "adamw")
