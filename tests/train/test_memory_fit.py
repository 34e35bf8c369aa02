"""Memory told before the start: the plan's line, what to change where it does not fit, and what there is."""

import re
from dataclasses import replace

import pytest
import torch

from lorakiln.console.errors import UserError
from lorakiln.families import cpu_threads
from lorakiln.train import assembly, memory_fit
from lorakiln.train.memory_count import MemoryCount
from lorakiln.train.memory_fit import check_memory_fit, read_free_memory
from lorakiln.train.share import Share

GB = 10**9
GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
SDXL = MemoryCount(
    base=5 * GB,
    adapter=GB // 2,
    step=6 * GB,
    validation=GB // 4,
    row=GB // 5,
    text=2 * GB,
    vae=GB // 10,
    decode=GB,
    rows=2,
)


@pytest.fixture
def free(monkeypatch):
    """Let the device have so many GB left."""

    def have(size: float) -> None:
        monkeypatch.setattr(memory_fit, "read_free_memory", lambda device: int(size * GB))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)

    return have


@pytest.fixture
def made(make_settings):
    """The room of a training that takes what SDXL's does; a step less with checkpointing, a base less in fewer bits."""

    def make(memory=SDXL, share=Share(bf16=True), device=GPU, dataset=0, **changes):  # noqa: B008
        def counted(settings):
            base = memory.base * {"none": 10, "int8": 6, "nf4": 4}[settings.trainer.quantize] // 10
            step = memory.step // 6 if settings.trainer.gradient_checkpointing else memory.step
            return replace(memory, base=base, step=step)

        return check_memory_fit(counted, make_settings(**changes), share, device, dataset)

    return make


def test_the_plans_line_has_the_terms(free, made):
    free(14)
    found = made()
    assert found.fits and found.warning() == ""
    assert found.describe() == (
        "12.5 GB of the 14.0 GB free on cuda:0, counted and not measured: base 5.0, adapter and optimizer 0.50, CUDA "
        "itself 1.0, and the most of activations 6.0, validation 0.25, samples 3.2 (8 at once, text encoders 2.0, "
        "VAE 1.1)"
    )


def test_the_line_of_a_cpu(free, made):
    free(20)
    found = made(replace(SDXL, on_gpu=False), device=CPU, dataset=GB)
    assert found.describe() == (
        "15.6 GB of the 20.0 GB free on cpu, counted and not measured: base 5.0, adapter and optimizer 0.50, VAE and "
        "text encoders 2.1, and the most of activations 6.0, validation 0.25, samples 8.0 (8 at once)"
    )


@pytest.mark.parametrize(
    ("size", "changes", "advice"),
    [
        (12, {}, "set train.trainer.gradient_checkpointing=true: then it takes 9.7 GB"),
        (9, {}, "set train.trainer.gradient_checkpointing=true: then it takes 8.9 GB"),
        (8, {}, "set train.trainer.gradient_checkpointing=true and train.samples.every=0: then it takes 7.5 GB"),
        (8.4, {"trainer": {"gradient_checkpointing": True}}, "set train.samples.every=0: then it takes 7.5 GB"),
        (6, {}, " and train.trainer.quantize=int8: then it takes 4.8 GB"),
        (4.5, {}, " and train.trainer.quantize=nf4: then it takes 3.8 GB"),
        (
            3,
            {},
            "nf4 is not enough; take a lower prepare.resolution, a smaller base, or a device with more memory",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_change(free, made, size, changes, advice):
    free(size)
    found = made(**changes)
    assert not found.fits
    assert found.warning().startswith("warning: this may run out of memory: about ")
    assert f"{size:.1f} GB are free\n  fix: " in found.warning() and found.warning().endswith(advice)


def test_a_smaller_micro_batch_divides_the_share(free, made):
    free(9.6)
    memory = replace(SDXL, rows=0, step=12 * GB)
    found = made(memory, share=Share(world=2, bf16=True), batch_size=24, trainer={"gradient_checkpointing": True})
    # 12 at once take 2 GB, of which 12 / 4 * 3 is what there is room for.
    assert found.fits
    free(7.6)
    found = made(memory, share=Share(world=2, bf16=True), batch_size=24, trainer={"gradient_checkpointing": True})
    assert found.advice == "set train.micro_batch=6: then it takes 7.5 GB"


def test_half_precision_and_fewer_bits_are_the_last_advice(free, made):
    free(6)
    memory = replace(SDXL, rows=0, step=GB, validation=0)
    found = made(memory, share=Share(), trainer={"gradient_checkpointing": True}, batch_size=1)
    assert found.advice == "set train.trainer.precision=bf16: then it takes 4.2 GB"
    free(4)
    found = made(memory, share=Share(), trainer={"gradient_checkpointing": True}, batch_size=1)
    both = "set train.trainer.precision=bf16 and train.trainer.quantize=nf4: then it takes 3.7 GB"
    assert found.advice == both


def test_as_many_samples_are_drawn_at_once_as_there_is_room_for(free, made):
    memory = replace(SDXL, step=GB)
    for size, drawn in ((9.7, 8), (9, 6), (8.5, 5)):
        free(size)
        assert made(memory).memory.drawn == drawn


@pytest.mark.parametrize(
    ("size", "dataset", "kept"), [(16, 3, True), (16, 3.6, False), (24, 6.1, False), (24, 5.9, True)]
)
def test_the_dataset_goes_to_the_gpu_where_there_is_room(free, made, size, dataset, kept):
    # Beside 12.5 GB for all the rest, and a quarter of what is free at most.
    free(size)
    found = made(dataset=int(dataset * GB))
    assert found.memory.dataset == (int(dataset * GB) if kept else 0)
    assert found.fits


def test_the_dataset_stays_on_a_cpu(free, made):
    free(1000)
    assert made(replace(SDXL, on_gpu=False), device=CPU, dataset=GB).memory.dataset == 0


def write_meminfo(folder, available: int, monkeypatch) -> None:
    (folder / "meminfo").write_text(f"MemTotal:  32000000 kB\nMemFree:  1 kB\nMemAvailable:  {available} kB\n")
    monkeypatch.setattr(memory_fit, "MEMINFO", folder / "meminfo")
    monkeypatch.setattr(memory_fit, "CGROUP", folder)


def test_a_machines_memory(tmp_path, monkeypatch):
    write_meminfo(tmp_path, 1000, monkeypatch)
    assert read_free_memory(CPU) == 1000 * 1024


@pytest.mark.parametrize(("limit", "free"), [("max", 1_024_000), ("500000", 350_000), ("9000000", 1_024_000)])
def test_the_memory_of_a_group_of_processes(tmp_path, monkeypatch, limit, free):
    write_meminfo(tmp_path, 1000, monkeypatch)
    for name, text in (("max", limit), ("current", "200000"), ("stat", "anon 1\ninactive_file 50000")):
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    assert read_free_memory(CPU) == free


def test_a_gpus_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 * GB, 8 * GB))
    assert read_free_memory(GPU) == 7 * GB


def test_a_small_base_on_a_cpu_is_told_and_not_counted(train_micro, make_settings, capsys, monkeypatch):
    monkeypatch.setattr(assembly, "count_memory", None)
    train_micro(make_settings(steps=1))
    assert re.search(r"^  memory      base 0\.\d+ GB, adapter and optimizer 0\.\d+ GB$", capsys.readouterr().out, re.M)


SAMPLED = {"steps": 1, "samples": {"every": 1, "steps": 1}, "validation": {"every": 1, "fraction": 0.3, "draws": 2}}


def test_the_plan_tells_what_was_counted(train_micro, make_settings, capsys, monkeypatch):
    monkeypatch.setattr(cpu_threads, "LARGE", 0)
    train_micro(make_settings(**SAMPLED))
    printed = capsys.readouterr()
    (line,) = [line for line in printed.out.splitlines() if line.startswith("  memory ")]
    terms = ("free on cpu", "base ", "adapter and optimizer ", "VAE and text encoders ", "activations ", "validation ")
    assert all(term in line for term in terms) and "samples " in line and "(8 at once)" in line
    assert "warning: this may run out" not in printed.err


def test_too_little_memory_is_told_before_anything_is_loaded(train_micro, make_settings, capsys, monkeypatch):
    monkeypatch.setattr(cpu_threads, "LARGE", 0)
    monkeypatch.setattr(memory_fit, "read_free_memory", lambda device: 1_500_000)
    load, loaded = assembly.load_family, []

    def noted(model, parts, **more):
        loaded.append((tuple(parts), capsys.readouterr().err))
        return load(model, parts, **more)

    monkeypatch.setattr(assembly, "load_family", noted)
    train_micro(make_settings(**SAMPLED))
    *bare, (parts, describe) = loaded
    assert bare and all(none == () for none, _ in bare) and "network" in parts
    assert "warning: this may run out of memory: about 0.00" in describe and "\n  fix: " in describe


def test_what_cannot_be_counted_is_trained_nevertheless(train_micro, make_settings, monkeypatch, capsys):
    def unable(wanted):
        raise NotImplementedError("aten::nonzero: no numbers\nmore of it")

    monkeypatch.setattr(cpu_threads, "LARGE", 0)
    monkeypatch.setattr(assembly, "count_memory", unable)
    out = train_micro(make_settings(**SAMPLED))
    assert (out / "facts.json").is_file()
    describe = capsys.readouterr()
    assert "warning: the memory that this takes could not be counted: aten::nonzero: no numbers\n" in describe.err
    assert "  memory      base 0." in describe.out


@pytest.mark.parametrize(
    ("error", "large", "fix"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), 10**12, "end what else uses the device"),
        (MemoryError(), 0, "take a lower prepare.resolution, a smaller base, or a device with more memory"),
    ],
)
def test_no_memory_for_loading_is_told(train_micro, make_settings, monkeypatch, error, large, fix):
    load = assembly.load_family

    def full(model, parts, **more):
        if parts:
            raise error
        return load(model, parts, **more)

    monkeypatch.setattr(cpu_threads, "LARGE", large)
    monkeypatch.setattr(memory_fit, "read_free_memory", lambda device: 100)
    monkeypatch.setattr(assembly, "load_family", full)
    with pytest.raises(UserError, match=f"loading the base model, on cpu: out of memory(.|\n)*{fix}"):
        train_micro(make_settings())


def test_the_room_is_made_of_what_this_run_trains_on(train_micro, make_settings, monkeypatch, capsys):
    monkeypatch.setattr(cpu_threads, "LARGE", 0)
    asked = []
    count = assembly.count_memory
    monkeypatch.setattr(assembly, "count_memory", lambda wanted: asked.append(wanted) or count(wanted))
    train_micro(make_settings(**SAMPLED))
    train_micro(make_settings(steps=1), "plain")
    assert [wanted.shape for wanted in asked] == [(4, 8, 12)] * 2  # the larger bucket: 48 x 32 pixels
    assert [wanted.drawn for wanted in asked] == [(4, 8, 8), None]
    assert [wanted.validates for wanted in asked] == [True, False]
