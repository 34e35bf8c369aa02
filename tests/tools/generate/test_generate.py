"""`lorakiln generate` on the micro model: what it draws is what the pipeline draws; grids, weights, prompts."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.cli import main
from lorakiln.families import load_family
from lorakiln.families.sd.model import StableDiffusion
from lorakiln.lora_files.identity import compute_lora_short_hash
from lorakiln.lora_files.writing import write_lora
from lorakiln.sampling import DrawJob, draw
from tests.lora_files.conftest import random_adapter
from tests.tools.generate.conftest import pixels, run


def test_a_grid_over_weights_begins_with_the_base_itself(model, lora, tmp_path, micro_model, capsys):
    out = tmp_path / "out"
    assert run("a red cat", "--model", model, "--lora", lora, "--columns", "weight=0,1", "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["0000.png", "0001.png", "grid.png"]
    assert capsys.readouterr().out.startswith("drawing 2 pictures, on the CPU in fp32\n")
    family = load_family(micro_model)
    (base,) = draw(family, [DrawJob("a red cat", 0, 32, 32)], 2, 5.0, batch_size=1)
    assert (pixels(out / "0000.png") == np.asarray(base)).all()
    assert np.abs(pixels(out / "0001.png") - np.asarray(base)).max() > 2
    text = Image.open(out / "0001.png").info["parameters"]
    assert text.startswith("a red cat <lora:style:1>") and "Steps: 2" in text and "Seed: 0" in text
    assert f", Model hash: {family.facts['hash'][:10]}, Model: sd," in text
    # A1111's hash of a LoRA: of all behind the header, as sshs_model_hash is.
    told = load_tensors(Path(lora))[1]["sshs_model_hash"]
    assert f'Lora hashes: "style: {told[:12]}"' in text


def test_a_lora_is_drawn_by_the_noise_schedule_that_it_names(model, tmp_path, micro_family, monkeypatch):
    told = []
    monkeypatch.setattr("lorakiln.tools.generate.follow_noise_schedule", lambda *given: told.append(given[1:]))
    for name, metadata in (("plain", {}), ("rescaled", {"ss_zero_terminal_snr": "True"})):
        adapter = replace(random_adapter(micro_family), metadata=metadata)
        write_lora(adapter, tmp_path / f"{name}.safetensors", "kohya")
        assert run("a cat", "--model", model, "--lora", tmp_path / f"{name}.safetensors", "--out", tmp_path / name) == 0
    assert told == [(False, tmp_path / "plain.safetensors"), (True, tmp_path / "rescaled.safetensors")]


def test_a_lora_without_a_hash_in_it_gets_that_of_its_bytes(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": torch.arange(5.0)})
    expected = hashlib.sha256(torch.arange(5.0).numpy().tobytes()).hexdigest()[:12]
    assert compute_lora_short_hash(tmp_path / "x.safetensors") == expected


def test_prompts_and_seeds_make_a_grid_and_a_weight_halves_the_lora(model, lora, tmp_path):
    assert run("red", "blue", "--model", model, "--seeds", "3,4", "--out", tmp_path / "a", "--lora", f"{lora}:0.5") == 0
    assert len(list((tmp_path / "a").glob("0*.png"))) == 4
    assert (
        run("red", "--model", model, "--seeds", "3", "--out", tmp_path / "b", "--lora", lora, "--columns", "weight=0.5")
        == 0
    )
    assert np.abs(pixels(tmp_path / "a/0000.png") - pixels(tmp_path / "b/0000.png")).max() <= 1


def test_checkpoints_are_an_axis_each_with_its_weight(model, lora, tmp_path):
    columns = f"checkpoint={lora}:0.5,{lora}"
    assert run("red", "--model", model, "--columns", columns, "--out", tmp_path / "a") == 0
    assert run("red", "--model", model, "--lora", lora, "--columns", "weight=0.5,1", "--out", tmp_path / "b") == 0
    for name, weight in (("0000.png", "0.5"), ("0001.png", "1")):
        assert (pixels(tmp_path / "a" / name) == pixels(tmp_path / "b" / name)).all()
        text = Image.open(tmp_path / "a" / name).info["parameters"]
        assert text.startswith(f"red <lora:style:{weight}>\n")
    assert (pixels(tmp_path / "a/0000.png") != pixels(tmp_path / "a/0001.png")).any()
    assert run("red", "--model", model, "--columns", f"lora={lora}:0.5", "--out", tmp_path / "c") == 0
    assert (pixels(tmp_path / "c/0000.png") == pixels(tmp_path / "a/0000.png")).all()


def test_a_lora_given_twice_acts_twice_and_one_name_is_told_twice(model, lora, tmp_path):
    other = tmp_path / "other" / "style.safetensors"
    other.parent.mkdir()
    other.write_bytes(Path(lora).read_bytes())
    ways = {
        "whole": ["--lora", lora],
        "twice": ["--lora", f"{lora}:0.5", "--lora", f"{lora}:0.5"],
        "namesakes": ["--lora", f"{lora}:0.25", "--lora", f"{other}:0.75"],
    }
    for name, arguments in ways.items():
        assert run("red", "--model", model, *arguments, "--out", tmp_path / name) == 0
    found = {name: pixels(tmp_path / name / "0000.png") for name in ways}
    assert np.abs(found["twice"] - found["whole"]).max() <= 1
    assert np.abs(found["namesakes"] - found["whole"]).max() <= 1
    texts = {name: Image.open(tmp_path / name / "0000.png").info["parameters"].splitlines()[0] for name in ways}
    assert texts["twice"] == texts["whole"] == "red <lora:style:1>"
    assert texts["namesakes"] == "red <lora:style:0.25> <lora:style:0.75>"


def test_what_of_a_prompt_is_not_read_is_told(model, tmp_path, capsys):
    # The micro model reads 30 tokens at once.
    assert run("(red:1.2) " * 30 + "blue cat", "--model", model, "--out", tmp_path / "a") == 0
    error = capsys.readouterr().err
    assert "warning" in error and "cut off: 'blue cat'" in error and "--max-tokens" in error
    assert run("red " * 30, "--model", model, "--negative", "blue " * 31, "--out", tmp_path / "b") == 0
    assert "cut off: 'blue'" in capsys.readouterr().err
    assert run("red " * 30, "--model", model, "--out", tmp_path / "c") == 0
    assert "warning" not in capsys.readouterr().err


def test_long_prompts_are_read_in_chunks(model, tmp_path):
    long = "red " * 30 + "blue cat"
    for tokens in (75, 150):
        assert run(long, "--model", model, "--max-tokens", tokens, "--out", tmp_path / str(tokens)) == 0
    assert run("red " * 30, "--model", model, "--out", tmp_path / "short") == 0
    short, one, two = (pixels(tmp_path / name / "0000.png") for name in ("short", "75", "150"))
    assert (short == one).all() and (one != two).any()


def test_a_dora_is_drawn_with_as_the_lora_that_is_made_of_it(model, tmp_path, micro_model, micro_family):
    tensors = {}
    for name, module in micro_family.network.named_modules():
        if name.endswith("attn1.to_q"):
            out, into = module.weight.shape
            layer = {"lora_up.weight": torch.randn(out, 2), "lora_down.weight": torch.randn(2, into)}
            layer["dora_scale"] = torch.full((out, 1), 3.0)
            tensors |= {f"lora_unet_{name.replace('.', '_')}.{ending}": one for ending, one in layer.items()}
    dora, lora = tmp_path / "dora.safetensors", tmp_path / "lora.safetensors"
    save_tensors(dora, tensors)
    assert main(["convert", str(dora), str(lora), "--base", micro_model.path]) == 0
    for name, files in (("a", [dora]), ("b", [lora]), ("c", [])):
        chosen = [word for file in files for word in ("--lora", f"{file}:0.7")]
        assert run("red", "--model", model, "--out", tmp_path / name, *chosen) == 0
    drawn = [pixels(tmp_path / name / "0000.png") for name in "abc"]
    assert np.abs(drawn[0] - drawn[1]).max() <= 1 and np.abs(drawn[0] - drawn[2]).max() > 2


@pytest.mark.parametrize("tight", [True, False])
def test_on_a_tight_gpu_what_does_not_work_leaves_it(model, tmp_path, monkeypatch, tight):
    rested = []
    monkeypatch.setattr("lorakiln.tools.generate.is_tight", lambda device: tight)
    monkeypatch.setattr(StableDiffusion, "rest", lambda self: rested.append(True))
    assert run("a cat", "--model", model, "--out", tmp_path / "out") == 0
    assert len(rested) == tight


@pytest.mark.parametrize(
    ("metadata", "given", "skip"),
    [
        ({"lorakiln_version": "1", "ss_clip_skip": "2"}, (), 2),
        ({"lorakiln_version": "1", "ss_clip_skip": "2"}, ("--clip-skip", "1"), 1),
        ({"lorakiln_version": "1", "ss_clip_skip": "None"}, (), 1),
        ({"ss_clip_skip": "2"}, (), 1),  # another program's: of SDXL it says so too, and did not heed it
    ],
)
def test_the_layer_that_is_read_is_that_of_the_training(model, lora, metadata, given, skip, tmp_path, capsys):
    tensors, told = load_tensors(Path(lora))
    save_tensors(Path(lora), tensors, told | metadata)
    drawn = [tmp_path / "a", tmp_path / "b"]
    assert run("a cat", "--model", model, "--lora", lora, *given, "--out", drawn[0]) == 0
    assert ("clip skip 2, as style.safetensors" in capsys.readouterr().out) == (skip == 2)
    assert run("a cat", "--model", model, "--lora", lora, "--clip-skip", skip, "--out", drawn[1]) == 0
    assert (pixels(drawn[0] / "0000.png") == pixels(drawn[1] / "0000.png")).all()
    assert ("Clip skip: 2" in Image.open(drawn[0] / "0000.png").info["parameters"]) == (skip == 2)
