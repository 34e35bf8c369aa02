"""A family from a folder of its own, made known through the registry alone: trained, exported, drawn with."""

import json

import pytest
import torch
from PIL import Image

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.caption import caption
from lorakiln.encode import encode
from lorakiln.evaluate import evaluate
from lorakiln.export import export
from lorakiln.families import load_family
from lorakiln.lora_files.base_model import find_base_version, find_lora_family
from lorakiln.lora_files.reading import read_lora
from lorakiln.lora_files.writing import write_lora
from lorakiln.prepare import prepare
from lorakiln.schema.base import check
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.model import FAMILIES, ModelSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tools.base_weights import open_base
from lorakiln.tools.inspect import inspect
from lorakiln.train import train
from tests.families import sketch
from tests.families.sketch.model import write_sketch
from tests.lora_files.conftest import random_adapter

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30), "grey": (120, 120, 120)}


@pytest.fixture(autouse=True)
def registered():
    FAMILIES.add("sketch", sketch)
    yield
    FAMILIES.remove("sketch")


@pytest.fixture
def model(tmp_path):
    write_sketch(tmp_path / "base")
    settings = {
        "family": "sketch",
        "architecture": "sketch1",
        "path": str(tmp_path / "base"),
        "resolution": 32,
        "bucket_min": 16,
        "bucket_max": 64,
        "bucket_step": 16,
        "captioner": {"path": "models/tiny/blip"},
        "clip": {"path": "models/tiny/clip"},
    }
    return check(ModelSettings, settings)


def train_settings(**changes):
    return TrainSettings(
        **{
            "steps": 3,
            "batch_size": 2,
            "adapter": {"rank": 2, "alpha": 2.0, "targets": "kohya"},
            "objective": {},
            "optimizer": {"kind": "adamw", "lr": 1e-2},
            "scheduler": {"kind": "constant"},
            "trainer": {"accelerator": "cpu", "threads": 1},
            "tracker": {"kind": "none"},
            "validation": {"every": 0},
            "samples": {"every": 3, "steps": 2, "seeds": [0], "prompts": ["sks red"]},
            **changes,
        }
    )


def test_from_pictures_to_a_report(tmp_path, model, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 40), colour).save(raw / f"{name}.png")
        (raw / f"{name}.txt").write_text(f"{name} square")
    prepared, captioned, encoded, run, lora, report = (
        tmp_path / name for name in ("prepared", "captioned", "encoded", "run", "lora", "report")
    )
    bucket = {"min": 16, "max": 64, "step": 16}
    prepare(raw, prepared, PrepareSettings(dataset="squares", resolution=32, bucket=bucket))
    caption(prepared, raw, captioned, BlipSettings(trigger="sks"), model.captioner)
    encode(captioned, encoded, EncodeSettings(device="cpu"), model)
    # What is told of a picture beside its caption is its own, and made anew; the rest is found again.
    (file,) = encoded.glob("*x*.safetensors")
    before = load_tensors(file)[0]
    assert before["shape_told"][0].tolist() == pytest.approx([0.32, 0.32], rel=1e-3)
    encode(captioned, encoded, EncodeSettings(device="cpu"), model)
    assert "new: 0 pictures, 0 captions" in capsys.readouterr().out
    assert all(torch.equal(value, before[name]) for name, value in load_tensors(file)[0].items())

    train(encoded, run, train_settings(), model, tmp_path / "checkpoints")
    facts = read_json(run / "facts.json")
    assert facts["targets"] == ["blocks.0.mix", "blocks.0.read", "blocks.1.mix", "blocks.1.read"]
    assert facts["base"]["version"] == "sketch_v1" and facts["timesteps"] == [0, 50, 50]
    assert len(list((run / "samples").rglob("*.png"))) == 2  # before the first step, and after the last

    export(run, captioned, run.parent / "choice", lora, ExportSettings(which="last"), model)
    tensors, metadata = load_tensors(lora / "squares.safetensors")
    assert {key.split(".")[0] for key in tensors} == {
        "lora_drawer_blocks_0_mix",
        "lora_drawer_blocks_0_read",
        "lora_drawer_blocks_1_mix",
        "lora_drawer_blocks_1_read",
    }
    assert any(value.abs().sum() > 0 for key, value in tensors.items() if key.endswith("lora_up.weight"))
    assert {key: metadata[key] for key in ("ss_base_model_version", "ss_v2")} == {
        "ss_base_model_version": "sketch_v1",
        "ss_v2": "False",
    }
    spec = {key: metadata[f"modelspec.{key}"] for key in ("architecture", "implementation", "prediction_type")}
    assert spec == {
        "architecture": "sketch-v1/lora",
        "implementation": "https://example.org/sketch",
        "prediction_type": "v",
    }
    assert read_json(lora / "squares.json")["sd version"] == "Sketch"

    settings = EvaluateSettings(
        prompts=["sks red", "sks blue"],
        seeds=[0],
        weights=[0.0, 1.0],
        steps=2,
        device="cpu",
        between=[],
        grid_prompts=1,
    )
    evaluate(lora, captioned, run, run.parent / "choice", report, settings, model)
    rows = read_jsonl(report / "samples" / "metadata.jsonl")
    assert (report / "report.html").is_file() and len({row["file_name"] for row in rows}) > 2


def test_its_files_are_known_without_a_model(tmp_path, model):
    family = load_family(model, ("network",))
    adapter = random_adapter(family)
    for form, name in (("kohya", "a.safetensors"), ("diffusers", "b.safetensors"), ("peft", "c")):
        write_lora(adapter, tmp_path / name, form)
        found = read_lora(tmp_path / name).adapter
        assert set(found.layers) == set(adapter.layers)
        assert find_lora_family(found).layout.family == "sketch"
    told = inspect(tmp_path / "a.safetensors")
    assert told["parts"] == {"drawer": 4} and any("train.adapter.targets" in one for one in told["retrain"])
    assert find_base_version(adapter) == "unknown"
    config = json.loads((tmp_path / "c" / "adapter_config.json").read_text())
    assert config["auto_mapping"]["base_model_class"] == "Drawer"


def test_its_folder_is_a_base_model(tmp_path, model):
    base = open_base(tmp_path / "base")
    assert sorted(base.places) == sorted(f"drawer.{path}" for path in sketch.PATHS)


def test_a_family_that_is_not_there_is_told_with_those_that_are():
    settings = {"family": "scetch", "path": "x"}
    with pytest.raises(Exception, match="Input should be 'sd', 'sdxl' or 'sketch'"):
        check(ModelSettings, settings)
