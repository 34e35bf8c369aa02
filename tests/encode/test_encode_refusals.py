"""What cannot be encoded, and what memory and precision ask for."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lorakiln.console.errors import UserError
from lorakiln.encode import encode
from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PLAIN
from lorakiln.families.sd.model import StableDiffusion
from tests.encode.conftest import SETTINGS, TEXTS, contents, write_metadata, write_picture


def test_out_of_memory_halves_the_batch_and_changes_no_tensor(captioned, tmp_path, micro_model, monkeypatch, capsys):
    encode(captioned, tmp_path / "one", SETTINGS.model_copy(update={"batch_size": 1}), micro_model)
    pictures, prompts = StableDiffusion.encode_pictures, StableDiffusion.encode_prompts

    def small(method):
        def limited(self, some, *more):
            if len(some) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return method(self, some, *more)

        return limited

    monkeypatch.setattr(StableDiffusion, "encode_pictures", small(pictures))
    monkeypatch.setattr(StableDiffusion, "encode_prompts", small(prompts))
    encode(captioned, tmp_path / "out", SETTINGS.model_copy(update={"batch_size": 4}), micro_model)
    one, out = contents(tmp_path / "one"), contents(tmp_path / "out")
    assert {name: one[name] for name in one if name != "index.json"} == {
        name: out[name] for name in out if name != "index.json"
    }
    told = capsys.readouterr().err
    assert told.count("encoding: out of memory with 4 at once") == 1 and "encode.batch_size" in told


def test_no_memory_for_the_base_is_told(captioned, tmp_path, micro_model, monkeypatch):
    def full(model, parts, *more, **named):
        if parts:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load_family(model, parts, *more, **named)

    monkeypatch.setattr("lorakiln.encode.stage.load_family", full)
    with pytest.raises(UserError, match="encode: loading the base model: out of memory(.|\n)*encode.device=cpu"):
        encode(captioned, tmp_path / "out", SETTINGS, micro_model)


def test_latents_that_are_not_finite_are_refused_by_name(captioned, tmp_path, micro_model, monkeypatch):
    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    before, encode_pictures = contents(tmp_path / "out"), StableDiffusion.encode_pictures

    def broken(self, pixels):
        mean, std = encode_pictures(self, pixels)
        mean[1] = float("inf")
        return mean, std

    monkeypatch.setattr(StableDiffusion, "encode_pictures", broken)
    write_picture(captioned, "x.png", 9)
    write_picture(captioned, "y.png", 10)
    write_metadata(captioned, TEXTS | {"x.png": "x", "y.png": "y"})
    with pytest.raises(UserError, match=r"y\.png: the VAE") as error:
        encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    assert "x.png" not in str(error.value)
    assert contents(tmp_path / "out") == before  # the old folder stays


def test_captions_that_are_not_finite_are_refused_by_their_words(captioned, tmp_path, micro_model, monkeypatch):
    encode_prompts = StableDiffusion.encode_prompts

    def broken(self, texts, encoding=PLAIN):
        told = encode_prompts(self, texts, encoding)
        told["prompt_embeds"][[text == "a cat" for text in texts], 1, 0] = float("nan")
        return told

    monkeypatch.setattr(StableDiffusion, "encode_prompts", broken)
    with pytest.raises(UserError, match=r"NaN or infinite numbers of 'a cat'(.|\n)*encode.device=cpu"):
        encode(captioned, tmp_path / "out", SETTINGS, micro_model)


@pytest.mark.parametrize(("half", "near"), [(torch.float16, 5e-3), (torch.bfloat16, 3e-2)])
def test_half_precision_reads_captions_as_single_does(captioned, tmp_path, micro_model, monkeypatch, calls, half, near):
    out = tmp_path / "out"
    encode(captioned, out, SETTINGS, micro_model)
    single = {file: load_file(out / file) for file in ("32x32.safetensors", "empty.safetensors")}
    calls["texts"].clear()
    # As on a GPU.
    monkeypatch.setattr("lorakiln.encode.stage.choose_text_dtype", lambda device: half)
    encode(captioned, out, SETTINGS, micro_model)
    assert calls["texts"]  # what was read in another precision is not taken over
    for file, tensors in single.items():
        found = load_file(out / file)
        for name, value in tensors.items():
            error = float((found[name] - value).norm() / value.norm())
            assert error == 0 if name.startswith("latent") else 0 < error < near


def change_size(folder: Path) -> None:
    Image.new("RGB", (16, 16)).save(folder / "a.png")


BAD = {
    "no folder": (shutil.rmtree, "no captioned pictures"),
    "no rows": (lambda folder: (folder / "metadata.jsonl").write_text(""), "no pictures here"),
    "missing": (lambda folder: (folder / "b.png").unlink(), r"b\.png: this picture of metadata"),
    "size": (change_size, r"a\.png: is 16x16 pixels, metadata.jsonl says 32x32"),
    "no picture": (lambda folder: (folder / "e.png").write_bytes(b"x"), r"e\.png: not a readable picture"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_refused(captioned, tmp_path, micro_model, name):
    spoil, message = BAD[name]
    spoil(captioned)
    with pytest.raises(UserError, match=message):
        encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    assert not (tmp_path / "out").exists()


def test_no_cuda_device(captioned, tmp_path, micro_model):
    if torch.cuda.is_available():
        encode(captioned, tmp_path / "out", SETTINGS.model_copy(update={"device": "cuda"}), micro_model)
        return
    with pytest.raises(UserError, match="no CUDA device"):
        encode(captioned, tmp_path / "out", SETTINGS.model_copy(update={"device": "cuda"}), micro_model)


def test_vae_weights_that_overflow_are_caught_before(captioned, tmp_path, micro_model):
    shutil.copytree(micro_model.path, tmp_path / "sd")
    file = tmp_path / "sd/vae/diffusion_pytorch_model.safetensors"
    save_file({name: value * float("inf") for name, value in load_file(file).items()}, file, {"format": "pt"})
    broken = micro_model.model_copy(update={"path": str(tmp_path / "sd")})
    with pytest.raises(UserError, match="weights are NaN"):
        load_family(broken, ("vae",))
    with pytest.raises(UserError, match="weights are NaN"):
        encode(captioned, tmp_path / "out", SETTINGS, broken)


def test_too_little_space_is_told_before_anything_is_written(captioned, micro_model, disk_of, tmp_path):
    disk_of(500)
    with pytest.raises(UserError, match="the encoded pictures and captions need about .*, the disk has 500 bytes left"):
        encode(captioned, tmp_path / "encoded", SETTINGS, micro_model)
    assert not (tmp_path / "encoded").exists()
