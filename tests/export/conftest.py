"""A run and its captioned pictures, as `train` and `caption` write them, in miniature."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.json_files import write_json, write_jsonl
from lorakiln.export import export
from lorakiln.lora_files import diffusers_form
from lorakiln.sampling import DrawJob, format_infotext, save_picture
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import TrainSettings

CAPTIONS = ["sks, a red cat", "sks, a blue cat", "sks, a Red cat, old", "sks, hidden treasure"]
PROMPTS = ["sks, a green cat", 'sks, "quoted"']


@pytest.fixture
def facts(micro_model, micro_family):
    return make_facts(micro_model, micro_family)


@pytest.fixture
def rows():
    return make_rows()


def make_facts(model, family):
    """facts.json of a run of 20 steps over four pictures, one of them held out."""
    train = TrainSettings(
        seed=7,
        steps=20,
        batch_size=4,
        micro_batch=2,
        repeats=3,
        save_every=10,
        adapter={"rank": 4, "alpha": 2.0},
        objective={"min_snr_gamma": 5.0},
        optimizer={"kind": "adamw", "lr": 1e-4},
        scheduler={"kind": "cosine", "warmup_steps": 2},
        trainer={"accelerator": "cpu"},
        tracker={"kind": "none", "entity": "somebody"},
        validation={},
        samples={"prompts": PROMPTS},
    )
    bucket = {"min": 16, "max": 64, "step": 16}
    settings = {
        "prepare": PrepareSettings(dataset="secret_folder", resolution=32, bucket=bucket),
        "caption": BlipSettings(trigger="sks"),
        "encode": EncodeSettings(clip_skip=2),
        "model": model,
        "train": train,
    }
    losses = {10: 0.5, 15: 0.25, 20: 0.75}
    return {
        "step": 20,
        "rank": 4,
        "alpha": 2.0,
        "targets": family.target_modules("kohya"),
        "base": dict(family.facts),
        "trigger": "sks",
        "held_out": 1,
        "precision": "fp32",
        "libraries": {"torch": "2.13.0"},
        "dataset": {"name": "secret_folder", "hash": hash_data("pictures"), "pictures": 4, "trigger": "sks"},
        "adapters": [
            {"step": step, "file": f"adapters/step-{step:08d}.safetensors", "validation_loss": loss}
            for step, loss in losses.items()
        ],
        "settings": {name: value.model_dump(mode="json") for name, value in settings.items()},
    }


def make_rows():
    """metadata.jsonl: square sources, one of them in a bucket that is not."""
    sizes = [(32, 32), (32, 32), (48, 32), (32, 32)]
    return [
        {
            "file_name": f"{number}.png",
            "width": width,
            "height": height,
            "bucket": f"{width}x{height}",
            "source": f"{number}.png",
            "sha256": str(number) * 64,
            "crop": [0, 0, width, height],
            "source_width": 100,
            "source_height": 100,
            "text": text,
            "caption_source": "file",
        }
        for number, ((width, height), text) in enumerate(zip(sizes, CAPTIONS, strict=True))
    ]


@pytest.fixture
def run(tmp_path, facts, micro_family):
    folder = tmp_path / "run"
    write_json(folder / "facts.json", facts)
    write_json(folder / "tracker.json", {"kind": "none", "id": None, "project": None, "url": None})
    for entry in facts["adapters"]:
        diffusers_form.save(trained(micro_family, entry["step"]), folder / entry["file"])
    for step in (10, 20):
        for number, prompt in enumerate(PROMPTS):
            path = folder / "samples" / f"step-{step:08d}" / f"{number:02d}.png"
            text = format_infotext(DrawJob(prompt, number, 32, 32), 2, 5.0, negative_prompt="bad")
            save_picture(Image.new("RGB", (32, 32), (step * 5, number, 0)), path, text)
    return folder


@pytest.fixture
def captioned(tmp_path, rows):
    write_jsonl(tmp_path / "captioned" / "metadata.jsonl", rows)
    return tmp_path / "captioned"


def trained(family, seed, rank=4, alpha=2.0):
    """An adapter with the sizes of weights that training gives."""
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name in family.target_modules("kohya"):
        weight = family.network.get_submodule(name).weight
        down = torch.randn(rank, *weight.shape[1:], generator=generator) * 0.1
        up = torch.randn(weight.shape[0], rank, *(1,) * (weight.ndim - 2), generator=generator) * 0.01
        layers[f"unet.{name}"] = Layer(down, up, alpha)
    return Adapter(layers)


@pytest.fixture
def do(tmp_path, run, captioned, micro_model):
    """Export with the given settings; the folder."""

    def call(out="lora", **settings) -> Path:
        export(run, captioned, tmp_path / "choice", tmp_path / out, ExportSettings(**settings), micro_model)
        return tmp_path / out

    return call


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
