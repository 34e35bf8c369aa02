"""`lorakiln generate` from a picture: as much of it as `strength` leaves, as diffusers does it, or described anew."""

from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from lorakiln.cli import main
from lorakiln.families import load_family
from lorakiln.sampling import DrawJob, draw
from tests.tools.generate.conftest import pixels

ROOT = Path(__file__).parents[3]


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
    (expected,) = draw(family, [DrawJob("red", 0, 32, 32)], 4, 5.0, batch_size=1, start=start, strength=0.5)
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
    (found,) = draw(family, [DrawJob("red", 7, 32, 32)], 5, 4.0, batch_size=1, start=start, strength=0.6)
    # diffusers takes latents for what they are, where they have the latents' channels.
    expected = pipe(
        "red",
        image=start,
        strength=0.6,
        num_inference_steps=5,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7),
    ).images[0]
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_the_captioner_describes_what_is_drawn_anew(lora, tmp_path, capsys):
    Image.fromarray(np.full((64, 64, 3), (40, 90, 210), np.uint8)).save(tmp_path / "in.png")
    arguments = ("--lora", lora, "--image", tmp_path / "in.png", "--describe")
    model = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    for part in ("captioner", "clip"):
        model[part]["path"] = str(ROOT / model[part]["path"])
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(model | {"path": str(ROOT / model["path"])}))
    assert (
        main(
            [
                "generate",
                "clay style",
                "--model",
                str(file),
                *map(str, arguments[2:]),
                "--steps",
                "2",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    (prompt,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("prompt: ")]
    assert prompt.startswith("prompt: clay style, ") and "blue background" in prompt
    text = Image.open(tmp_path / "out/0000.png").info["parameters"]
    assert text.startswith(prompt.removeprefix("prompt: "))
    assert main(["generate", "x", "--model", str(file), "--describe", "--out", str(tmp_path / "no")]) == 1
    assert "name one with --image" in capsys.readouterr().err
