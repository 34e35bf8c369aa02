"""Base models that are damaged, hostile or another's, told before anything is built or opened."""

import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from tests.families.sd.conftest import edit


def make_pickle(root: Path) -> None:
    weights = root / "vae/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def make_flux(root: Path) -> None:
    shutil.rmtree(root / "unet")
    edit(root / "model_index.json", _class_name="FluxPipeline")


def break_weight(root: Path) -> None:
    file = root / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.weight"][0, 0, 0, 0] = float("nan")
    save_file(tensors, file, {"format": "pt"})


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def lead(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN = {
    "nan": (break_weight, "NaN or infinite: conv_in.weight"),
    "pickle": (make_pickle, "pickles"),
    "truncated": (lambda r: (r / "text_encoder/model.safetensors").write_bytes(b"\0" * 9), "not a readable safet"),
    "no config": (lambda r: (r / "vae/config.json").unlink(), "no complete folder"),
    "bad config": (lambda r: (r / "vae/config.json").write_text("{"), "not a readable config"),
    "inpainting": (lambda r: edit(r / "unet/config.json", in_channels=9), "makes 4: an inpainting"),
    "sdxl": (lambda r: edit(r / "unet/config.json", addition_embed_type="text_time"), "SDXL"),
    "text width": (lambda r: edit(r / "unet/config.json", cross_attention_dim=1024), "width 1024"),
    "flux": (make_flux, "FluxPipeline"),
    "prediction": (lambda r: edit(r / "scheduler/scheduler_config.json", prediction_type="sample"), "'sample'"),
    "deep config": (lambda r: (r / "unet/config.json").write_text("[" * 200_000), "nested too deep"),
    "deep index": (lambda r: (r / "model_index.json").write_text('{"a":' * 200_000), "nested too deep"),
    "long config": (lambda r: (r / "vae/config.json").write_text(" " * 10_000_001), "longer than 10,000,000 bytes"),
    "a pipe as weights": (lambda r: pipe(r / "unet/diffusion_pytorch_model.safetensors"), "a pipe, not a regular"),
    "a folder as weights": (
        lambda r: replace_by_folder(r / "unet/diffusion_pytorch_model.safetensors"),
        r"diffusion_pytorch_model.safetensors: cannot be read \(a folder\)",
    ),
    "a circle of links": (
        lambda r: lead(r / "unet/diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors"),
        "Too many levels of symbolic links",
    ),
    "an LFS pointer": (
        lambda r: (r / "unet/diffusion_pytorch_model.safetensors").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        "a Git LFS pointer instead of the file\n  fix: run `git lfs pull`",
    ),
    "a web page": (
        lambda r: (r / "vae/diffusion_pytorch_model.safetensors").write_text("<!DOCTYPE html><html></html>"),
        "a web page instead of the file",
    ),
    "no unet": (lambda r: shutil.rmtree(r / "unet"), "a StableDiffusionPipeline without its folder unet"),
    "no tokenizer": (lambda r: shutil.rmtree(r / "tokenizer"), "no tokenizer there: vocab.json and merges.txt missing"),
    "a tokenizer's config that is a list": (
        lambda r: (r / "tokenizer/tokenizer_config.json").write_text("[1]"),
        "not a config: no JSON object",
    ),
    "a deep tokenizer's config": (
        lambda r: (r / "tokenizer/tokenizer_config.json").write_text("[" * 200_000),
        "nested too deep",
    ),
    "a pipe as config": (lambda r: pipe(r / "text_encoder/config.json"), "a pipe, not a regular file"),
    "a pipe as tokenizer": (lambda r: pipe(r / "tokenizer/vocab.json"), "a pipe, not a regular file"),
    "a device as index": (lambda r: lead(r / "model_index.json", "/dev/zero"), "a device, not a regular file"),
}


# A value of a config, and what is said of it. Each was a traceback, a hang or a model of nonsense.
UNREASONABLE = [
    ("scheduler/scheduler_config.json", "beta_start", -5, "beta_start is -5, expected a number from 0 to 0.999"),
    ("scheduler/scheduler_config.json", "beta_start", float("nan"), "beta_start is nan, expected a number"),
    ("scheduler/scheduler_config.json", "beta_end", "0.012", "beta_end is '0.012', expected a number"),
    ("scheduler/scheduler_config.json", "num_train_timesteps", 10**12, "expected a whole number from 1 to 100000"),
    ("scheduler/scheduler_config.json", "trained_betas", [0.5, 7], r"trained_betas\[1\] is 7, expected a number"),
    ("scheduler/scheduler_config.json", "trained_betas", [0.5] * 10**6, "trained_betas is 1000000 of them"),
    ("scheduler/scheduler_config.json", "beta_schedule", "none", "cannot be loaded"),
    ("text_encoder/config.json", "hidden_size", "a", "hidden_size is 'a', expected a whole number from 1 to 100000"),
    ("text_encoder/config.json", "hidden_size", True, "hidden_size is True"),
    ("text_encoder/config.json", "num_hidden_layers", 10**8, "num_hidden_layers is 100000000, expected .* 1 to 128"),
    ("text_encoder/config.json", "num_hidden_layers", 2.5, "num_hidden_layers is 2.5, expected a whole number"),
    ("text_encoder/config.json", "vocab_size", 0, "vocab_size is 0"),
    ("unet/config.json", "block_out_channels", [16, 10**9], r"block_out_channels\[1\] is 1000000000"),
    ("unet/config.json", "block_out_channels", [16] * 33, "block_out_channels is 33 of them"),
    ("unet/config.json", "layers_per_block", 10**9, "layers_per_block is 1000000000"),
    ("unet/config.json", "norm_num_groups", 7, "cannot be loaded"),
    ("unet/config.json", "down_block_types", "x", "cannot be loaded"),
    (
        "tokenizer/tokenizer_config.json",
        "model_max_length",
        -3,
        "model_max_length is -3, expected a whole number from 3",
    ),
    ("tokenizer/tokenizer_config.json", "model_max_length", "a", "model_max_length is 'a'"),
    ("tokenizer/tokenizer_config.json", "model_max_length", 1e30, None),
    ("tokenizer/tokenizer_config.json", "model_max_length", 20.0, None),
    ("vae/config.json", "scaling_factor", float("inf"), "scaling_factor is inf"),
    ("vae/config.json", "scaling_factor", 0, "scaling_factor is 0"),
    ("vae/config.json", "latents_mean", [float("nan")], r"latents_mean\[0\] is nan, expected a finite number"),
    # Of these nothing depends.
    ("text_encoder/config.json", "architectures", {"a": 1}, None),
    ("model_index.json", "_class_name", ["a"], None),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("file", "key", "value", "message"), UNREASONABLE)
def test_unreasonable_values_in_configs_are_told(copy, file, key, value, message):
    edit(Path(copy.path) / file, **{key: value})
    if message is None:
        load_family(copy)
        return
    with pytest.raises(UserError, match=message) as told:
        load_family(copy)
    assert Path(told.value.where) in (Path(copy.path) / file, (Path(copy.path) / file).parent)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", BROKEN)
def test_broken_models_are_refused(copy, name):
    spoil, message = BROKEN[name]
    spoil(Path(copy.path))
    with pytest.raises(UserError, match=message):
        load_family(copy, ("vae", "text", "network") if name == "nan" else ())  # else no part is needed to know it
