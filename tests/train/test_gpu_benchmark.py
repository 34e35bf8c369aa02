"""The benchmark for GPUs, at a fraction of the width: its loops run, and it counts as it says."""

import pytest
import torch

from benchmarks import gpu, gpu_loops
from benchmarks.gpu import report
from benchmarks.gpu_loops import WARM, Clock, Wanted

CPU = torch.device("cpu")


def test_the_clock_counts_what_comes_after_the_first_steps(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    clock = Clock(CPU, seconds=2.0)
    clock.begin()
    now[0] += 7.0
    assert not clock.tick()
    ticks = 0
    while not clock.tick():
        # The second and third are slow; from then on a step takes a quarter of a second.
        now[0] += 3.0 if ticks < WARM - 2 else 0.25
        ticks += 1
    assert clock.first == 7.0
    assert clock.rate == pytest.approx(4.0)


def test_its_table_has_all_loops_of_both_bases():
    torch.set_num_threads(1)
    text = report(CPU, seconds=0.01, tiny=True)
    told, _, *lines = text.rstrip().splitlines()
    assert "matrix products in torch.float32" in told and "of no meaning" in told
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[2] for row in rows] == [*gpu.LOOPS] * 2
    for base in (rows[:3], rows[3:]):
        rates = [float(row[3]) for row in base]
        assert all(rate > 0 for rate in rates) and base[0][5] == "1.00"
        for row, rate in zip(base, rates, strict=True):
            assert float(row[5]) == pytest.approx(rate / rates[0], abs=0.02 + 0.02 * rate / rates[0])
            assert row[6].endswith("%") and float(row[8]) > 0


def test_the_loops_train_the_same_weights():
    """As many of them, on the same modules, at the width that users have."""
    meta = Wanted("sd1", 1, torch.device("meta"), 0.0, tiny=False)
    bare = gpu_loops.Plain(meta, fused=False)
    family = gpu_loops.base_of("sd1", torch.float32, CPU)
    family.network = meta.make("unet")
    settings = gpu_loops.settings_of(1, checkpointing=False).adapter
    gpu_loops.inject_adapter(family, settings, gpu_loops.list_target_names(family, settings.targets), 0)
    ours = [weight for weight in family.network.parameters() if weight.requires_grad]
    assert sum(one.numel() for one in ours) == sum(one.numel() for one in bare.weights) == 3_188_736
