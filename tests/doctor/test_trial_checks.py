import math
from pathlib import Path

import pytest

from lorakiln.doctor.trial import Trial
from lorakiln.doctor.trial_checks import (
    check_drawn_file,
    check_memory_peak,
    check_resume,
    check_samples,
    check_training,
)

MIB = 2**20
TRAINED = {"device": "Card", "precision": "bf16", "steps_per_second": 2.5, "seconds": 8.0, "counted": None}


@pytest.mark.parametrize(
    ("losses", "status"),
    [([0.1] * 20, "ok"), ([0.1] * 19, "wrong"), ([0.1] * 19 + [math.nan], "wrong"), ([], "wrong")],
)
def test_all_steps_have_finite_losses(micro_model, losses, status):
    check = check_training({**TRAINED, "losses": losses}, Trial(Path("x"), micro_model, micro_batch=3))
    assert check.status == status
    if status == "ok":
        told = "20 steps of 6 pictures, 3 at once, on Card in bf16: 2.5 steps a second, loss 0.100 to 0.100"
        assert check.what == told


def test_memory_is_shown_and_compared_where_it_was_counted():
    gpu = {"tensors": 700 * MIB, "blocks": 900 * MIB}
    alone = check_memory_peak(gpu, None)
    assert alone.status == "ok" and alone.what.endswith("700.0 MiB of the GPU's memory at most, in blocks of 900.0 MiB")
    assert check_memory_peak(gpu, 900 * MIB).what.endswith("; 900.0 MiB were counted")
    assert check_memory_peak(gpu, 900 * MIB).status == "ok"
    # Blocks are what has to fit.
    short = check_memory_peak(gpu, 800 * MIB)
    assert short.status == "warning" and short.facts == {"peak": gpu, "counted": 800 * MIB}
    assert (
        check_memory_peak({"resident": 5 * MIB}, None).what == "training took 5.0 MiB of the machine's memory at most"
    )


def test_samples_are_counted_and_looked_at():
    good = {"pictures": 2, "sizes": ["64x64"], "least_spread": 40.0}
    assert check_samples(good, "").status == "ok"
    black = check_samples({**good, "least_spread": 0.0}, "")
    assert black.status == "wrong" and "model.vae" in black.fix
    log = "step\nwarning: no samples at step 20: out of memory\n  fix: train.samples.every=0 draws none\n"
    none = check_samples({**good, "pictures": 0}, log)
    assert none.what == "warning: no samples at step 20: out of memory" and none.fix.startswith("train.samples.every=0")
    assert check_samples({**good, "pictures": 1}, "").what == "1 of 2 pictures"


@pytest.mark.parametrize(
    ("near", "far", "status"),
    [
        (0.0, 19.0, "ok"),
        (0.4, 0.3, "ok"),
        (8.0, 19.0, "ok"),
        (10.0, 19.0, "warning"),
        (20.0, 19.0, "wrong"),
        (math.nan, 19.0, "warning"),
    ],
)
def test_the_file_draws_what_the_adapter_drew(near, far, status):
    assert check_drawn_file({"with": near, "without": far}).status == status


@pytest.mark.parametrize(
    ("facts", "exact", "status"),
    [
        ({"same_bytes": True, "difference": 0.0}, True, "ok"),
        ({"same_bytes": False, "difference": 1e-6}, True, "wrong"),
        ({"same_bytes": False, "difference": 0.03}, False, "ok"),
        ({"same_bytes": False, "difference": 0.2}, False, "wrong"),
        ({"same_bytes": True, "difference": 0.0, "status": 0, "stopped_at": 20}, True, "warning"),
        ({"same_bytes": True, "difference": 0.0, "stopped_at": 0}, True, "warning"),
    ],
)
def test_a_resumed_run_is_the_same(facts, exact, status):
    assert check_resume({"stopped_at": 11, "status": 143, **facts}, exact).status == status
