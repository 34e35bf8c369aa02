from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lorakiln.console import gpu as console_gpu
from lorakiln.doctor import machine

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (dvs-builder)\n"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
CPU = torch.device("cpu")


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver's note in the kernel."""

    def write(text):
        (tmp_path / "version").write_text(text)
        monkeypatch.setattr(console_gpu, "NVIDIA", tmp_path / "version")

    monkeypatch.setattr(console_gpu, "NVIDIA", tmp_path / "absent")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return write


@pytest.fixture
def gpu(driver, monkeypatch):
    """A GPU in name only: what is moved to it stays on the CPU."""
    driver(CLOSED)
    told = SimpleNamespace(name="Card", major=7, minor=5, total_memory=8 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: told)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (6 * 2**30, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    to = torch.Tensor.to
    here = lambda tensor, *where: to(tensor, *(one for one in where if one != 0))  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "to", here)
    return monkeypatch


def test_a_machine_without_a_driver_has_nothing_wrong(driver):
    check = machine.check_device()
    assert check.status == "ok" and "no NVIDIA driver is here" in check.what
    assert check.facts["driver"] is None and check.facts["gpus"] == []


@pytest.mark.parametrize(("text", "version"), [(OPEN, "550.54.14"), (CLOSED, "535.104.05"), ("odd", "unknown")])
def test_the_drivers_version_is_read(driver, text, version):
    driver(text)
    assert machine.check_device().facts["driver"] == version


@pytest.mark.parametrize(
    ("cuda", "what", "fix"),
    [
        (None, "is a build without CUDA", "pip install torch --index-url"),
        ("13.0", "driver does not run torch", "update the driver, or install a torch for an older CUDA: pip install"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_wrong_with_the_command_that_mends_it(driver, monkeypatch, cuda, what, fix):
    driver(CLOSED)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    check = machine.check_device()
    assert check.status == "wrong" and what in check.what and check.fix.startswith(fix)
    assert [one["name"] for one in machine.check_torch(False)] == ["device"]  # the rest would say nothing about the GPU


def test_a_hidden_gpu_is_a_warning_unless_it_was_asked_for(driver, monkeypatch):
    driver(CLOSED)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check = machine.check_device()
    assert check.status == "warning" and check.fix == "unset CUDA_VISIBLE_DEVICES to use the GPU"
    assert machine.check_device(left_alone=True).status == "ok"


def test_a_gpu_that_computes_is_well(gpu):
    check = machine.check_device()
    assert check.status == "ok" and check.what == "Card (6.0 GiB of 8.0 GiB free); driver 535.104.05"
    assert check.facts["gpus"] == [{"name": "Card", "capability": "7.5", "memory": 8 * 2**30, "free": 6 * 2**30}]


def test_a_gpu_for_which_the_build_has_no_kernels_is_wrong(gpu):
    def refuse(*operands):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with ...")

    gpu.setattr(torch.Tensor, "__matmul__", refuse)
    check = machine.check_device()
    assert check.status == "wrong" and "no kernel image is available for execution on the device)" in check.what
    assert "Compile" not in check.what and check.fix.startswith("install another build: pip install torch")


def test_a_gpu_that_computes_something_else_is_wrong(gpu):
    product = torch.Tensor.__matmul__
    # Single precision, in which the GPU is asked, comes out wrong in one row.
    gpu.setattr(
        torch.Tensor,
        "__matmul__",
        lambda a, b: product(a, b).index_fill(0, torch.tensor([3]), 0) if a.dtype == torch.float32 else product(a, b),
    )
    assert "comes out wrong on it" in machine.check_device().what


def test_a_gpu_without_bf16_is_told_what_it_costs(gpu):
    check = machine.check_precision(torch.device("cuda", 0))
    assert check.status == "warning" and check.facts == {"base": "fp16", "adapter": "fp32"}
    assert machine.check_precision(CPU).status == "ok"


def test_attention_on_a_cpu():
    check = machine.check_attention(CPU)
    assert check.status == "ok" and check.facts["dtype"] == "float32"
    assert check.facts["backends"]["math"] == "usable" and check.facts["backends"]["cuDNN"] == "not here"


def test_attention_that_is_wrong_in_its_gradient_is_found(monkeypatch):
    def attend(query, key, value):
        # Right forwards; the gradient of the values is lost.
        return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value.detach() + 0 * value

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    check = machine.check_attention(CPU)
    assert check.status == "wrong" and check.what == "wrong numbers from: flash, memory-efficient, cuDNN, math"


def test_a_gpu_with_the_plain_attention_alone_is_a_warning(gpu, monkeypatch):
    monkeypatch.setattr(machine, "_attends", lambda backend, *_: "usable" if backend.name == "MATH" else "not here")
    check = machine.check_attention(torch.device("cuda", 0))
    assert check.status == "warning" and check.what.startswith("usable: math; not here: cuDNN, flash")


def test_disk_and_memory_are_compared_with_what_is_needed(disk_of, tmp_path, monkeypatch):
    disk_of(3 * 2**30)
    assert machine.check_disk(tmp_path, 2 * 2**30).status == "ok"
    assert machine.check_disk(tmp_path, 2 * 2**30 + 1).status == "wrong"
    monkeypatch.setattr(machine, "read_free_memory", lambda device: 2**30)
    assert machine.check_memory(2**30).status == "ok"
    check = machine.check_memory(2**30 + 1)
    assert check.status == "wrong" and "1.0 GiB of the machine's memory free" in check.what
