"""What `lorakiln generate` refuses, and what it says when the memory is full."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.tools.generate.conftest import run

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "sd99"], "no such model"),
        (["--model", "MODEL", "--columns", "mood=1,2"], "'mood' is no axis"),
        (["--model", "MODEL", "--columns", "steps=few"], "'few' is no steps"),
        (["--model", "MODEL", "--columns", "weight"], "is no axis"),
        (["--model", "MODEL", "--rows", "seed=1", "--columns", "seed=2"], "both seed"),
        (["--model", "MODEL", "--size", "big"], "is no size"),
        (["--model", "MODEL", "--seeds", "x"], "is no seed"),
        (["--model", "MODEL", "--seeds", "1,2", "--columns", "weight=0,1"], "several are given"),
        (["--model", "MODEL", "--size", "30x32"], "cannot be drawn"),
        (["--model", "MODEL", "--image", "nothing.png"], "nothing.png: no such picture"),
        (["--model", "MODEL", "--lora", "nothing.safetensors"], "no such file"),
        (["--model", "MODEL", "--lora", "nothing.safetensors:inf"], "'inf' is no finite weight"),
        (["--model", "MODEL", "--seeds", "²"], "'²' is no seed"),
        (["--model", "MODEL", "--seeds", "4294967296"], "4294967295 is the largest"),
        (["--model", "MODEL", "--seeds", "9" * 5000], "is no seed"),
        (["--model", "MODEL", "--columns", "seed=-1"], "'-1' is no seed"),
        (["--model", "MODEL", "--columns", "steps=2000"], "2000 steps are more"),
        (["--model", "MODEL", "--columns", "steps=1000"], "1000 steps are more"),
        (["--model", "MODEL", "--columns", "steps=0,2"], "0 is not at least 1"),
        (["--model", "MODEL", "--columns", "steps=2,-1"], "-1 is not at least 1"),
        (["--model", "MODEL", "--columns", "guidance=nan"], "nan is not a finite number"),
        (["--model", "MODEL", "--columns", "weight=inf"], "inf is not a finite number"),
        (["--model", "MODEL", "--columns", "strength=0.5,1"], "there is no picture to draw anew"),
        (["--model", "MODEL", "--size", "0x0"], "is no size of a picture"),
        (["--model", "MODEL", "--size", "99999x32"], "sides are 1 to 8192 pixels long"),
        (["--model", "MODEL", "--size", "²x32"], "is no size"),
        (["--model", "MODEL", "--columns", "checkpoint=a,nothing.safetensors:0.5"], "no such file"),
    ],
)
def test_mistakes(model, tmp_path, capsys, arguments, said):
    code = run("red", "--out", tmp_path / "out", *[model if one == "MODEL" else one for one in arguments])
    error = capsys.readouterr().err
    assert code == 1 and said in error and "Traceback" not in error
    assert not list(tmp_path.glob("out/*.png"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "not readable as YAML"),
        ("- a", "not a list of settings with names"),
        ("family: sd", "path: field required"),
        ("family: sd\npath: x\nresolutoin: 4", "did you mean resolution?"),
    ],
)
def test_a_model_file_that_is_none(tmp_path, capsys, content, said):
    (tmp_path / "m.yaml").write_text(content)
    assert run("red", "--model", tmp_path / "m.yaml", "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert said in error and "m.yaml" in error and "Traceback" not in error


def test_pictures_that_are_none(model, tmp_path, capsys):
    file = tmp_path / "in.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    tiny = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    for arguments in (["--model", model], ["--model", tmp_path / "tiny.yaml", "--describe"]):
        assert run("red", *arguments, "--image", file, "--out", tmp_path / "out") == 1
        assert f"{file}: not a readable picture" in capsys.readouterr().err


def test_a_file_is_no_folder_for_pictures(model, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert run("red", "--model", model, "--out", tmp_path / "out", "--overwrite") == 1
    assert "is a file, and a folder is written" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("lorakiln.tools.generate.is_tight", "loading the base model: out of memory"),
        ("lorakiln.lora_files.merging.Merged.set_weights", "putting the LoRAs on, and encoding the"),
        ("lorakiln.families.sd.model.StableDiffusion.encode_pictures", "putting the LoRAs on, and encoding the"),
        ("lorakiln.families.sd.model.StableDiffusion.encode_prompts", "drawing: reading the negative prompt: out of"),
        ("lorakiln.families.sd.model.StableDiffusion.decode_latents", "drawing: out of memory with one picture"),
    ],
)
def test_no_memory_is_told_with_what_helps(model, lora, tmp_path, capsys, monkeypatch, place, said):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    Image.new("RGB", (32, 32), "red").save(tmp_path / "from.png")
    monkeypatch.setattr(place, full)
    begun = ("--lora", lora, "--image", tmp_path / "from.png", "--out", tmp_path / "out")
    assert run("a cat", "--model", model, *begun) == 1
    told = capsys.readouterr().err
    assert f"error: {said}" in told and "\n  fix: " in told and "Traceback" not in told
