"""`lorakiln generate` on the micro model: what it draws is what the pipeline draws, grids, image to image, mistakes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lorakiln.cli import main
from lorakiln.families import load_family
from lorakiln.lora_files.writing import write_lora
from lorakiln.sampling import Job, draw
from tests.lora_files.conftest import random_adapter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(tmp_path, micro_model):
    file = tmp_path / "micro.yaml"
    file.write_text(yaml.safe_dump(micro_model.model_dump(mode="json")))
    return str(file)


@pytest.fixture
def lora(tmp_path, micro_family):
    write_lora(random_adapter(micro_family), tmp_path / "style.safetensors", "kohya")
    return str(tmp_path / "style.safetensors")


def run(*arguments):
    return main(["generate", *map(str, arguments), "--steps", "2"])


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_grid_over_weights_begins_with_the_base_itself(model, lora, tmp_path, micro_model):
    out = tmp_path / "out"
    assert run("a red cat", "--model", model, "--lora", lora, "--columns", "weight=0,1", "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["0000.png", "0001.png", "grid.png"]
    family = load_family(micro_model)
    (base,) = draw(family, [Job("a red cat", 0, 32, 32)], 2, 5.0, batch_size=1)
    assert (pixels(out / "0000.png") == np.asarray(base)).all()
    assert np.abs(pixels(out / "0001.png") - np.asarray(base)).max() > 2
    text = Image.open(out / "0001.png").info["parameters"]
    assert text.startswith("a red cat <lora:style:1>") and "Steps: 2" in text and "Seed: 0" in text


def test_prompts_and_seeds_make_a_grid_and_a_weight_halves_the_lora(model, lora, tmp_path):
    assert run("red", "blue", "--model", model, "--seeds", "3,4", "--out", tmp_path / "a", "--lora", f"{lora}:0.5") == 0
    assert len(list((tmp_path / "a").glob("0*.png"))) == 4
    assert (
        run("red", "--model", model, "--seeds", "3", "--out", tmp_path / "b", "--lora", lora, "--columns", "weight=0.5")
        == 0
    )
    assert np.abs(pixels(tmp_path / "a/0000.png") - pixels(tmp_path / "b/0000.png")).max() <= 1


def test_image_to_image_keeps_what_strength_leaves(model, tmp_path, micro_model):
    family = load_family(micro_model)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    for strength in ("0.5", "1"):
        code = main(
            [
                "generate",
                "red",
                "--model",
                model,
                "--steps",
                "4",
                "--image",
                str(tmp_path / "in.png"),
                "--strength",
                strength,
                "--out",
                str(tmp_path / strength),
            ]
        )
        assert code == 0
    values = torch.from_numpy(pixels(tmp_path / "in.png") / 127.5 - 1).float().permute(2, 0, 1)[None]
    start = family.encode_pictures(values)[0]
    (expected,) = draw(family, [Job("red", 0, 32, 32)], 4, 5.0, batch_size=1, start=start, strength=0.5)
    assert np.abs(pixels(tmp_path / "0.5/0000.png") - np.asarray(expected)).max() <= 1
    assert np.abs(pixels(tmp_path / "0.5/0000.png") - pixels(tmp_path / "1/0000.png")).max() > 2
    assert "Denoising strength: 0.5" in Image.open(tmp_path / "0.5/0000.png").info["parameters"]


def test_image_to_image_equals_diffusers(micro_model):
    from diffusers import StableDiffusionImg2ImgPipeline

    family = load_family(micro_model)
    pipe = StableDiffusionImg2ImgPipeline(
        **{**family.pipeline().components, "image_encoder": None}, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    (found,) = draw(family, [Job("red", 7, 32, 32)], 5, 4.0, batch_size=1, start=start, strength=0.6)
    # diffusers takes latents for what they are, where they have the latents' channels.
    expected = pipe(
        "red", image=start, strength=0.6, num_inference_steps=5, guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected).astype(int)).max() <= 1


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
        (["--model", "MODEL", "--image", "nothing.png"], "not a readable picture"),
        (["--model", "MODEL", "--lora", "nothing.safetensors"], "no such file"),
    ],
)
def test_mistakes(model, tmp_path, capsys, arguments, said):
    code = run("red", "--out", tmp_path / "out", *[model if one == "MODEL" else one for one in arguments])
    error = capsys.readouterr().err
    assert code == 1 and said in error and "Traceback" not in error
    assert not list(tmp_path.glob("out/*.png"))


def test_the_captioner_describes_what_is_drawn_anew(lora, tmp_path, capsys):
    Image.fromarray(np.full((64, 64, 3), (40, 90, 210), np.uint8)).save(tmp_path / "in.png")
    arguments = ("--lora", lora, "--image", tmp_path / "in.png", "--describe")
    model = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    for part in ("captioner", "clip"):
        model[part]["path"] = str(ROOT / model[part]["path"])
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(model | {"path": str(ROOT / model["path"])}))
    assert main(["generate", "clay style", "--model", str(file), *map(str, arguments[2:]), "--steps", "2",
                 "--out", str(tmp_path / "out")]) == 0  # fmt: skip
    (prompt,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("prompt: ")]
    assert prompt.startswith("prompt: clay style, ") and "blue background" in prompt
    text = Image.open(tmp_path / "out/0000.png").info["parameters"]
    assert text.startswith(prompt.removeprefix("prompt: "))
    assert main(["generate", "x", "--model", str(file), "--describe", "--out", str(tmp_path / "no")]) == 1
    assert "name one with --image" in capsys.readouterr().err


def test_long_prompts_are_read_in_chunks(model, tmp_path):
    long = "red " * 30 + "blue cat"
    for tokens in (75, 150):
        assert run(long, "--model", model, "--max-tokens", tokens, "--out", tmp_path / str(tokens)) == 0
    assert run("red " * 30, "--model", model, "--out", tmp_path / "short") == 0
    short, one, two = (pixels(tmp_path / name / "0000.png") for name in ("short", "75", "150"))
    assert (short == one).all() and (one != two).any()
