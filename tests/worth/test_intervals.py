"""Intervals against closed forms."""

import numpy as np
import pytest

from lorakiln.worth.intervals import Estimate, compute_bootstrap_mean, compute_wilson_fraction


def test_bootstrap_agrees_with_the_standard_error_of_the_mean():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    found = compute_bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_bootstrap_covers_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(2)
    found = [compute_bootstrap_mean(rng.normal(0.0, 1.0, size=50)) for _ in range(300)]
    covered = sum(estimate.low <= 0.0 <= estimate.high for estimate in found)
    assert 0.90 <= covered / len(found) <= 0.98


def test_bootstrap_is_the_same_every_time():
    values = np.arange(10.0)
    assert compute_bootstrap_mean(values) == compute_bootstrap_mean(values.copy())


def test_one_prompt_has_no_interval():
    assert compute_bootstrap_mean(np.array([0.5])).as_dict() == {"mean": 0.5}


def test_wilson_against_published_values():
    # Newcombe 1998 (Statistics in Medicine 17, 857), table I.
    for right, count, low, high in ((81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):
        found = compute_wilson_fraction(np.array([1.0] * right + [0.0] * (count - right)))
        assert found.low == pytest.approx(low, abs=5e-5)
        assert found.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(
    ("low", "high", "prompts", "rises", "falls"),
    [
        (0.1, 0.3, 5, True, False),
        (-0.1, 0.3, 50, False, False),
        (-0.3, -0.1, 5, False, True),
        (0.1, 0.3, 4, False, False),
    ],
)
def test_a_change_is_clear_when_the_interval_leaves_out_zero(low, high, prompts, rises, falls):
    estimate = Estimate((low + high) / 2, low, high, prompts)
    assert (estimate.rises, estimate.falls) == (rises, falls)
