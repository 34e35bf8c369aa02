"""Which device trains, in which precision, and what is said where a GPU cannot be used."""

import json
import re

import pytest
import torch
from lightning.pytorch import Trainer

from lorakiln.console import gpu
from lorakiln.console.errors import UserError
from lorakiln.console.gpu import choose_device
from lorakiln.schema.train import TrainerSettings
from lorakiln.train import devices
from lorakiln.train.precision import choose_half, choose_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("wanted", "device", "has_bf16", "taken"),
    [
        ("auto", GPU, True, "bf16"),
        ("auto", GPU, False, "fp16"),
        ("auto", CPU, False, "fp32"),
        ("bf16", GPU, True, "bf16"),
        ("bf16", GPU, False, "fp32"),
        ("bf16", CPU, False, "bf16"),
        ("fp16", GPU, True, "fp16"),
        ("fp16", CPU, False, "fp16"),
        ("fp32", GPU, True, "fp32"),
        ("fp32", CPU, False, "fp32"),
    ],
)
def test_one_rule_of_precision(monkeypatch, wanted, device, has_bf16, taken):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert choose_precision(wanted, device) == taken
    assert choose_half(device) == ("fp16" if device == GPU and not has_bf16 else "bf16")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with a driver or without, and what torch makes of it."""

    def make(driver: bool, usable: int, build: str | None):
        file = tmp_path / "version"
        if driver:
            file.touch()
        monkeypatch.setattr(gpu, "NVIDIA", file)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: usable)
        monkeypatch.setattr(torch.version, "cuda", build)

    return make


@pytest.mark.parametrize(
    ("driver", "usable", "build", "said"),
    [
        (False, 0, None, ""),
        (True, 1, "13.0", ""),
        (True, 0, None, "is a build without CUDA; pip install torch"),
        (True, 0, "13.0", "its driver does not run torch .*CUDA 13.0; update the driver"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_told_with_the_remedy(machine, driver, usable, build, said):
    machine(driver, usable, build)
    found = gpu.explain_unusable_gpu()
    assert re.search(said, found) if said else found == ""


def test_every_stage_tells_of_a_gpu_that_it_cannot_use_and_once(machine, capsys):
    machine(True, 0, None)
    gpu.warn_of_unusable_gpu.cache_clear()
    assert choose_device("cpu") == choose_device("auto") == choose_device("auto") == CPU
    told = capsys.readouterr().err
    assert told.count("warning: this computes on the CPU: a GPU is there") == 1 and "pip install torch" in told


def test_a_device_is_told_with_the_gpus_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA GeForce RTX 4090")
    assert gpu.describe_device(CPU) == "the CPU"
    assert gpu.describe_device(GPU) == "cuda (NVIDIA GeForce RTX 4090)"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_on_purpose_is_not_told(machine, monkeypatch, hidden):
    machine(True, 0, "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert gpu.explain_unusable_gpu() == ""


@pytest.mark.parametrize(
    ("accelerator", "wanted", "usable", "found"),
    [("auto", 1, 0, "cpu"), ("auto", 1, 1, "gpu"), ("cpu", 1, 1, "cpu"), ("gpu", 2, 2, "gpu")],
)
def test_the_gpu_where_there_is_one(machine, accelerator, wanted, usable, found):
    machine(usable > 0, usable, "13.0")
    assert devices.find_accelerator(TrainerSettings(accelerator=accelerator, devices=wanted)) == found


@pytest.mark.parametrize(
    ("driver", "build", "said"),
    [
        (False, None, r"no CUDA device is there \(this torch is a build without CUDA\)(.|\n)*train/trainer=cpu"),
        (True, None, r"a GPU is there, but torch .* is a build without CUDA(.|\n)*pip install torch"),
    ],
)
def test_a_gpu_that_is_insisted_on_and_not_there_is_refused(machine, driver, build, said):
    machine(driver, 0, build)
    with pytest.raises(UserError, match=said):
        devices.find_accelerator(TrainerSettings(accelerator="gpu"))


def test_more_gpus_than_there_are_are_refused(machine):
    machine(True, 1, "13.0")
    with pytest.raises(UserError, match="2 devices wanted, 1 there"):
        devices.find_accelerator(TrainerSettings(accelerator="auto", devices=2))


def test_bf16_on_a_cpu_trains_and_is_recorded(train_micro, make_settings):
    facts = {
        wanted: json.loads(
            (train_micro(make_settings(trainer={"precision": wanted}), wanted) / "facts.json").read_text()
        )
        for wanted in ("auto", "bf16")
    }
    assert {wanted: one["precision"] for wanted, one in facts.items()} == {"auto": "fp32", "bf16": "bf16"}


def test_signals_are_not_lightnings(make_settings):
    """What is taken from it has no public name: with a release that calls it otherwise this fails, and says where."""
    plain, ours = Trainer(accelerator="cpu", logger=False), devices.make_trainer(make_settings())
    for owner, name in (
        (lambda trainer: trainer._signal_connector, "register_signal_handlers"),
        (lambda trainer: trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor"),
    ):
        assert callable(getattr(type(owner(plain)), name)) and name not in vars(owner(plain))
        assert vars(owner(ours))[name]() is None
