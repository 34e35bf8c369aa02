"""A device that is out of memory: fewer at once, told once, and an end that says what helps."""

import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from lorakiln.console.errors import UserError, exit_on_user_error
from lorakiln.console.memory import (
    Batch,
    explaining_no_memory,
    is_out_of_memory,
    is_tight,
)

ADVICE = "draw smaller pictures"


def hungry(most: int, batch: Batch):
    """Work that has memory for `most` at once; returns how many it took."""

    def work() -> int:
        if batch.size > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 22.00 GiB")
        return batch.size

    return work


def test_it_halves_until_it_fits_and_says_so_once(capsys):
    batch, found = Batch(8, "drawing", "encode.batch_size", ADVICE), None
    tries = 0
    while found is None:
        found, tries = batch.attempt(hungry(2, batch)), tries + 1
    assert (found, batch.size, tries) == (2, 2, 3)
    assert batch.attempt(hungry(2, batch)) == 2
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "drawing: out of memory with 8 at once, so fewer from here on (a smaller encode.batch_size spares the attempt)"
    ]


def test_one_too_many_ends_with_what_helps():
    batch = Batch(1, "drawing", "evaluate.batch_size", ADVICE)
    with pytest.raises(UserError, match=r"drawing: out of memory with one picture at once(.|\n)*draw smaller pictures"):
        batch.attempt(hungry(0, batch))


def test_another_error_goes_through():
    def broken():
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Batch(4, "drawing").attempt(broken)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, found):
    assert is_out_of_memory(error) is found


def test_what_did_not_fit_is_let_go():
    class Held:
        pass

    held = []

    def work():
        big = Held()
        held.append(weakref.ref(big))
        raise torch.OutOfMemoryError("x")

    assert Batch(2, "drawing").attempt(work) is None
    assert held[0]() is None


@pytest.mark.parametrize(("device", "free", "found"), [("cuda", 5e9, True), ("cuda", 7e9, False), ("cpu", 1e9, False)])
def test_a_gpu_with_little_memory_left_is_tight(monkeypatch, device, free, found):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free), 8 * 10**9))
    assert is_tight(torch.device(device)) is found


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_what_is_not_tried_with_less_is_told_with_what_helps(error):
    told = f"loading it: out of memory(.|\n)*fix: {ADVICE}"
    with pytest.raises(UserError, match=told), explaining_no_memory("loading it", ADVICE):
        raise error
    with pytest.raises(RuntimeError, match="shapes do not fit"), explaining_no_memory("loading it"):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize(
    ("error", "device"), [(torch.OutOfMemoryError("CUDA out of memory"), "the GPU"), (MemoryError(), "the machine")]
)
def test_no_command_ends_with_a_traceback_for_want_of_memory(capsys, error, device):
    def command():
        raise error

    assert exit_on_user_error(command) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {device} is out of memory\n  fix: ")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets what a process has held")
def test_what_was_held_before_is_forgotten():
    # In a process of its own: what this one gives back at any moment counts too.
    program = (
        "import torch\n"
        "from lorakiln.console.memory import forget_peak_memory, free_memory, read_peak_memory\n"
        "cpu, size = torch.device('cpu'), 64 * 2**20\n"
        "forget_peak_memory()\n"
        "before = read_peak_memory(cpu)\n"
        "held = torch.ones(size // 4)\n"
        "print((read_peak_memory(cpu) - before) / size)\n"
        "del held\n"
        "free_memory()\n"
        "forget_peak_memory()\n"
        "print((read_peak_memory(cpu) - before) / size)\n"
    )
    held, forgotten = map(float, subprocess.check_output([sys.executable, "-c", program], text=True).split())
    assert held == pytest.approx(1, rel=0.1) and forgotten < 0.1
