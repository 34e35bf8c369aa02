"""Fixtures that many tests share: a whole Stable Diffusion in miniature, with random weights, made in a second."""

import os

# Before anything imports torch: threads that wait for each other are slower here than one. Nothing in the tests
# may reach for the network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Where this is set, each of the thousand commands that tests start would compile the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# At each start W&B would read the metadata of all that is installed, for a list in its record.
os.environ.setdefault("WANDB_X_SAVE_REQUIREMENTS", "false")

import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

import pytest

# The hooks of all tests.
from tests.file_seconds import (  # noqa: F401
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
)


def pytest_collection_finish():
    """Each collection of garbage need not look through the million objects of the libraries."""
    gc.collect()
    gc.freeze()


START, END = "<|startoftext|>", "<|endoftext|>"
TOKENS = 32  # in a text, start and end included


PRELOADED = Path(__file__).with_name("preloaded")


@pytest.fixture(scope="session")
def preloaded():
    """A folder with `python` and `dvc`, which run what they are asked to in forks of one process: see preloaded/.

    First in a command's PATH, they stand also for the Pythons that the command starts itself.
    """
    # Not in pytest's own: a socket's path has at most 107 letters.
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as ending:
        folder = Path(name)
        for command in ("python", "dvc"):
            program = f"#!{sys.executable} -IS\n" + (PRELOADED / "client.py").read_text()
            (folder / command).write_text(program)
            (folder / command).chmod(0o755)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [sys.executable, str(PRELOADED / "server.py"), str(folder / "socket")]
        log = ending.enter_context((folder / "log").open("w"))
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, env=environment)
        ending.enter_context(server)
        ending.callback(server.stdin.close)
        while not (folder / "socket").exists():
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)
        yield folder


@pytest.fixture(scope="session")
def micro_model(tmp_path_factory):
    """ModelSettings of a random Stable Diffusion: factor 4, 32x32 pixels, two levels, in diffusers' layout."""
    from lorakiln.schema.model import ModelSettings

    folder = tmp_path_factory.mktemp("micro") / "sd"
    write_micro_model(folder)
    return ModelSettings(
        family="sd",
        path=str(folder),
        resolution=32,
        bucket_min=16,
        bucket_max=64,
        bucket_step=16,
        captioner={"path": "models/tiny/blip"},
        clip={"path": "models/tiny/clip"},
    )


@pytest.fixture(scope="session")
def micro_family(micro_model):
    """The micro model, all parts loaded. Shared: a test that changes the network loads its own."""
    from lorakiln.families import load_family

    return load_family(micro_model)


@pytest.fixture(scope="session")
def micro_encoded(tmp_path_factory, micro_model, micro_family):
    """An encoded folder, as `encode` writes it: four pictures of 32x32, two of 48x32, plain and flipped.

    Shared: a test that changes it copies it first.
    """
    folder = tmp_path_factory.mktemp("micro_encoded") / "encoded"
    write_micro_encoded(folder, micro_model, micro_family)
    return folder


def write_micro_model(folder: Path, seed: int = 0) -> None:
    """Write a random Stable Diffusion with SD 1.x' topology (convolutions around the transformers)."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.set_num_threads(1)
    vocabulary = write_micro_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=32,
            scaling_factor=0.5,
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=24,
            attention_head_dim=2,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary),
                hidden_size=24,
                intermediate_size=48,
                num_hidden_layers=3,
                num_attention_heads=2,
                max_position_embeddings=TOKENS,
                projection_dim=24,
                bos_token_id=vocabulary[START],
                eos_token_id=vocabulary[END],
                pad_token_id=vocabulary[END],
            )
        )
    for name, part in (("vae", vae), ("unet", unet), ("text_encoder", text)):
        part.save_pretrained(folder / name)
    write_text(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_text(folder / "model_index.json", INDEX)


# As Stable Diffusion 1.5 has it.
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def write_micro_tokenizer(folder: Path, pad: str = END) -> dict[str, int]:
    """Write CLIP's byte-level BPE with a few merges: every text has tokens, most of them single letters."""
    merges = [
        ("r", "e"),
        ("re", "d</w>"),
        ("b", "l"),
        ("u", "e</w>"),
        ("bl", "ue</w>"),
        ("c", "a"),
        ("ca", "t</w>"),
    ]
    # GPT-2's printable stand-ins for the 256 bytes.
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in (*shown, *range(256, 256 + 256 - len(shown)))]
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *("".join(pair) for pair in merges),
        START,
        END,
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    write_text(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "do_lower_case": True,
        **special,
    }
    write_text(folder / "tokenizer_config.json", config)
    return vocabulary


def write_micro_encoded(folder: Path, model, family) -> None:
    """Write random latents of six pictures with the true embeddings of their captions."""
    import torch

    from lorakiln.artefacts.hashing import hash_data
    from lorakiln.artefacts.json_files import write_json
    from lorakiln.artefacts.tensor_files import save_tensors
    from lorakiln.schema.captioners.blip import BlipSettings
    from lorakiln.schema.encode import EncodeSettings
    from lorakiln.schema.prepare import PrepareSettings

    generator = torch.Generator().manual_seed(0)
    buckets, number = [], 0
    for name, count in (("32x32", 4), ("48x32", 2)):
        width, height = map(int, name.split("x"))
        texts = [f"sks, a {colour} cat" for colour in ("red", "blue", "green", "old")[:count]]
        plain = torch.randn(count, 1, *family.latent_shape(width, height), generator=generator)
        mean = torch.cat([plain, plain.flip(-1)], dim=1)
        tensors = {
            "latent_mean": mean,
            "latent_std": torch.full_like(mean, 0.1),
            **family.encode_prompts(texts),
        }
        save_tensors(folder / f"{name}.safetensors", tensors)
        rows = []
        for text in texts:
            key = hash_data(number)
            rows.append(
                {
                    "file_name": f"{number}.png",
                    "text": text,
                    "sha256": key,
                    "twin": key,
                    "caption_source": "blip" if number % 2 else "file",
                    "key_picture": key,
                    "key_caption": key,
                    "unread": "",
                }
            )
            number += 1
        buckets.append({"name": name, "file": f"{name}.safetensors", "rows": rows})
    save_tensors(folder / "empty.safetensors", family.encode_prompts([""]))
    prepare = PrepareSettings(dataset="micro", resolution=32, bucket={"min": 16, "max": 64, "step": 16})
    settings = {
        "prepare": prepare,
        "caption": BlipSettings(trigger="sks"),
        "encode": EncodeSettings(flip=True),
        "model": model,
    }
    index = {
        "dataset": {
            "name": "micro",
            "hash": hash_data("micro"),
            "pictures": number,
            "trigger": "sks",
            "out_of_domain": None,
        },
        "base": family.facts,
        "variants": ["plain", "flip"],
        "buckets": buckets,
        "empty": hash_data(""),
        "hash": hash_data(buckets),
        "settings": {name: value.model_dump(mode="json") for name, value in settings.items()},
    }
    write_json(folder / "index.json", index)


def write_text(path: Path, data) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")


@pytest.fixture
def disk_of(monkeypatch):
    """Let every disk have so many bytes left."""

    def call(free: int) -> None:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**40, 2**40 - free, free))

    return call
