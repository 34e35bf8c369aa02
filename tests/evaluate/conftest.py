"""A random micro CLIP, and the folders that the stages before `evaluate` leave, in miniature."""

import json

import pytest
from PIL import Image

from lorakiln.artefacts.json_files import write_json, write_jsonl
from lorakiln.evaluate import evaluate, painter
from lorakiln.metrics import list_in_report_order, list_metrics
from lorakiln.sampling import DrawJob, draw, format_infotext, save_picture
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import Source
from tests.made_facts import captioned_row

NASTY = "<script>alert('x')</script> & co"


def metrics_of(classify):
    """The metrics of settings with these questions, as they stand in tables."""
    return list_in_report_order(
        list_metrics(EvaluateSettings(prompts=["a"], seeds=[0, 1], weights=[0, 1], classify=classify))
    )


@pytest.fixture(scope="session")
def micro_clip(tmp_path_factory):
    """A folder with a random CLIPModel, its tokenizer and its picture processor."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    from tests.conftest import END, START, TOKENS, write_micro_tokenizer

    folder = tmp_path_factory.mktemp("clip")
    vocabulary = write_micro_tokenizer(folder)
    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": TOKENS,
        "bos_token_id": vocabulary[START],
        "eos_token_id": vocabulary[END],
        "pad_token_id": vocabulary[END],
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    model.save_pretrained(folder)
    CLIPImageProcessorPil(size={"height": 16, "width": 16}, do_center_crop=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def judged_model(micro_model, micro_clip):
    return micro_model.model_copy(update={"clip": Source(path=str(micro_clip))})


@pytest.fixture
def folders(tmp_path, judged_model, micro_family):
    """lora, captioned and run, as their stages write them, and a choice that is not there."""
    return write_folders(tmp_path, judged_model, micro_family)


def write_folders(parent, model, family):
    lora, captioned, run = (parent / name for name in ("lora", "captioned", "run"))
    write_lora(lora, model, family)
    write_captioned(captioned)
    write_run(run)
    return lora, captioned, run, parent / "choice"


def write_lora(folder, model, family, seed=0):
    import torch

    from lorakiln.adapters.adapter import Adapter, Layer
    from lorakiln.artefacts.hashing import hash_data
    from lorakiln.lora_files import kohya_form

    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name in family.target_modules("attention"):
        module = family.network.get_submodule(name)
        down = torch.randn(2, module.in_features, generator=generator)
        layers[f"unet.{name}"] = Layer(down, torch.randn(module.out_features, 2, generator=generator), 1.0)
    folder.mkdir(exist_ok=True)
    kohya_form.save(Adapter(layers), folder / "sks.safetensors", family, {})
    facts = {
        "name": "sks",
        "file": "sks.safetensors",
        "step": 20,
        "rank": 2,
        "alpha": 1.0,
        "base": family.facts,
        "dataset": {"name": "demo", "hash": "d" * 16, "pictures": 3},
        "held_out": 1,
        "trigger": "sks",
        "hash": hash_data(seed),
        "settings": {
            "prepare": {"dataset": "demo"},
            "caption": {"trigger": "sks"},
            "encode": {"clip_skip": 1},
            "model": model.model_dump(mode="json"),
            "train": {"steps": 20, "adapter": {"rank": 2}},
            "export": {},
        },
    }
    write_json(folder / "facts.json", facts)


def write_captioned(folder):
    folder.mkdir()
    rows = []
    for number, text in enumerate(["sks, a red cat", NASTY, "sks, a blue cat"]):
        Image.new("RGB", (32, 32), (80 * number, 90, 120)).save(folder / f"{number}.png")
        source = "file" if number == 1 else "blip"
        rows.append(captioned_row(f"{number}.png", text=text, caption_source=source, caption_file=None))
    write_jsonl(folder / "metadata.jsonl", rows)
    write_json(folder / "dataset.json", {"name": "demo", "pictures": 3, "hash": "d" * 16, "trigger": "sks"})


def write_run(folder):
    job = DrawJob("sks, a red cat", 0, 32, 32)
    for step in (10, 20):
        path = folder / "samples" / f"step-{step:08d}" / "00.png"
        save_picture(Image.new("RGB", (32, 32), (step * 5, 0, 0)), path, format_infotext(job, 2, 5.0))
    (folder / "metrics.csv").write_text("step,loss,lr,grad_norm\n10,0.5,0.001,1\n20,0.4,0.001,1\n")
    (folder / "validation.csv").write_text("step,loss\n0,0.6\n20,0.5\n")
    (folder / "tracker.json").write_text(json.dumps({"kind": "none", "id": None, "project": None, "url": None}))


SETTINGS = EvaluateSettings(
    prompts=["{trigger}, a red cat", "a blue cat", f"{{trigger}} {NASTY}"],
    seeds=[0, 7],
    weights=[0, 1],
    between=[0.5],
    grid_prompts=2,
    steps=2,
    guidance=3.0,
    batch_size=2,
    device="cpu",
    classify=[
        {"name": "colour", "labels": ["red", "blue"]},
        {"name": "kind", "labels": ["cat", "old"], "answer": "old"},
    ],
)


@pytest.fixture(scope="module")
def reported(tmp_path_factory, judged_model, micro_family):
    """A report made once; a test that changes it copies it first."""
    parent = tmp_path_factory.mktemp("reported")
    evaluate(*write_folders(parent, judged_model, micro_family), parent / "report", SETTINGS, judged_model)
    return parent / "report"


@pytest.fixture
def count_drawn(monkeypatch):
    """The jobs that were really drawn."""
    jobs = []

    def counting(family, some, *args, **kwargs):
        jobs.extend(some)
        return draw(family, some, *args, **kwargs)

    monkeypatch.setattr(painter, "draw", counting)
    return jobs
