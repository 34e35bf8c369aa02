"""The losses, against closed forms; and one that the package does not have, through the registry."""

import json
from typing import Literal

import pytest
import torch
from pydantic import Field, ValidationError

from lorakiln.console.errors import UserError
from lorakiln.diffusion.loss import compute_mask_weights
from lorakiln.diffusion.losses import find_loss
from lorakiln.diffusion.processes import make_process
from lorakiln.diffusion.threshold import compute_threshold
from lorakiln.facts.run import RunFacts
from lorakiln.lora_files import kohya_metadata
from lorakiln.rows import CaptionedRow
from lorakiln.schema.base import check
from lorakiln.schema.objectives import OBJECTIVES, ObjectiveSettings
from lorakiln.schema.objectives.huber import HuberSettings
from lorakiln.schema.objectives.mse import MseSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.validation import compute_validation_loss
from tests.diffusion import absolute
from tests.export.conftest import make_facts, make_rows


class AbsoluteSettings(ObjectiveSettings):
    kind: Literal["absolute"] = "absolute"
    scale: float = Field(1.0, gt=0, le=100)


@pytest.fixture
def kind():
    OBJECTIVES.add("absolute", absolute, AbsoluteSettings)
    yield
    OBJECTIVES.remove("absolute")


def told(facts):
    rows = [CaptionedRow(**row) for row in make_rows()]
    return kohya_metadata.build_metadata(RunFacts(**facts), rows, "x", private=False)


PROCESS = make_process({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"})


@pytest.mark.parametrize(
    ("kind", "far", "near"),
    [
        ("mse", 9, 1e-6),
        ("l1", 3, 1e-3),
        # 2 * 4 * (sqrt(9 + 16) - 4) = 8; and d^2 where d is small.
        ("huber", 8, 1e-6),
        # 2 * (sqrt(9 + 16) - 4) = 2; and d^2 / 4 where d is small.
        ("smooth_l1", 2, 0.25e-6),
    ],
)
def test_errors_against_closed_forms(kind, far, near):
    objective = OBJECTIVES.settings(kind)(huber_delta=4.0)
    target = torch.tensor([1.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    prediction = target + torch.tensor([-3.0, 0.001], dtype=torch.float64).view(2, 1, 1, 1)
    found = find_loss(kind).compute_errors(prediction, target, objective, PROCESS, torch.tensor([3, 700]))
    assert found.shape == prediction.shape
    assert found.flatten().tolist() == pytest.approx([far, near], rel=1e-4)


@pytest.mark.parametrize(
    ("schedule", "scale", "expected"),
    [
        ("constant", 1.0, lambda u, sigma: 0.1),
        ("constant", 3.0, lambda u, sigma: 0.3),
        ("exponential", 1.0, lambda u, sigma: 0.1**u),
        ("exponential", 3.0, lambda u, sigma: 3 * 0.1**u),
        ("snr", 1.0, lambda u, sigma: 0.9 / (1 + sigma) ** 2 + 0.1),
    ],
)
@pytest.mark.parametrize("kind", ["huber", "smooth_l1"])
def test_thresholds_follow_the_noise(kind, schedule, scale, expected):
    t = torch.tensor([0, 10, 500, 999])
    objective = OBJECTIVES.settings(kind)(huber_schedule=schedule, huber_scale=scale)
    alpha_bar = PROCESS.alphas_cumprod[t].double()
    sigmas = ((1 - alpha_bar) / alpha_bar).sqrt()
    wanted = torch.tensor([expected(u, sigma) for u, sigma in zip((t / 1000).tolist(), sigmas.tolist(), strict=True)])
    found = torch.as_tensor(compute_threshold(PROCESS, t, objective)).flatten()
    torch.testing.assert_close(found.expand(4), wanted, rtol=1e-5, atol=0)
    # Each picture's error has its own.
    d = torch.full((4, 1, 1, 1), 2.0)
    root = 2 * ((4 + wanted**2).sqrt() - wanted)
    errors = find_loss(kind).compute_errors(d, torch.zeros_like(d), objective, PROCESS, t).flatten()
    torch.testing.assert_close(errors, root if kind == "smooth_l1" else wanted * root, rtol=1e-5, atol=0)


def test_a_threshold_is_finite_where_there_is_no_signal():
    silent = make_process({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True})
    found = compute_threshold(silent, torch.tensor([999]), HuberSettings(huber_schedule="snr"))
    assert found.item() == pytest.approx(0.1, abs=1e-3)
    with pytest.raises(ValidationError, match="huber_scale 2.0 has no meaning without huber_schedule=constant or exp"):
        HuberSettings(huber_schedule="snr", huber_scale=2.0)


@pytest.mark.parametrize(
    ("outside", "normalised", "weights"),
    [
        # A mask of one whole cell, one half, and two outside; its mean is 3/8.
        (0.0, False, [1, 0.5, 0, 0]),
        (0.2, False, [1, 0.6, 0.2, 0.2]),
        (0.0, True, [1 / 0.375, 0.5 / 0.375, 0, 0]),
        (0.2, True, [2, 1.2, 0.4, 0.4]),  # by 0.5
    ],
)
def test_what_a_cell_weighs_by_its_mask(outside, normalised, weights):
    objective = MseSettings(unmasked_weight=outside, normalize_masked_area=normalised)
    mask = torch.tensor([[[1, 0.5], [0, 0]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]])
    found = compute_mask_weights(mask, objective)
    assert found.shape == (3, 1, 2, 2)
    assert found[0].flatten().tolist() == pytest.approx(weights)
    assert found[1].flatten().tolist() == [1, 1, 1, 1]
    assert found[2].flatten().tolist() == pytest.approx([1.0 if normalised and outside else outside] * 4)


def test_the_kind_is_the_squared_error_where_none_is_named(make_settings):
    assert make_settings().objective == MseSettings()
    assert make_settings(objective={"kind": "huber"}).objective == HuberSettings()
    # A config of the group mse has the other's setting too.
    assert make_settings(objective={"kind": "mse", "huber_delta": 0.3}).objective.huber_delta == 0.3


def test_a_run_whose_loss_is_not_installed_is_a_users_error(micro_model, micro_family):
    facts = make_facts(micro_model, micro_family)
    facts["settings"]["train"]["objective"]["kind"] = "absolute"
    with pytest.raises(UserError, match=r"(?s)train.objective.kind.*huber.*mse.*absolute.*\n.*install the package"):
        told(facts)


def test_a_loss_is_trained_that_another_package_adds(kind, make_settings, make_module, train_micro):
    settings = make_settings(steps=6, objective={"kind": "absolute", "scale": 3.0}, validation={"fraction": 0.3})
    assert settings.objective == AbsoluteSettings(scale=3.0)
    assert check(TrainSettings, settings.model_dump(mode="json")) == settings
    module, plain = make_module(objective={"kind": "absolute", "scale": 3.0}), make_module()
    samples = module.schedule(0)
    draws, seen = module.make_draws(0, samples), []
    predict = module.family.predict
    module.family.predict = lambda *a: seen.append(predict(*a)) or seen[-1]
    loss = module.loss(samples, draws, slice(0, 4)).item()
    assert loss == pytest.approx(3 * (seen[0] - draws.epsilon).abs().mean().item(), rel=1e-5)
    # The validation's loss is the same whatever is trained with: it compares.
    assert compute_validation_loss(module, [[0], []]) == compute_validation_loss(plain, [[0], []])
    facts = json.loads((train_micro(settings) / "facts.json").read_text())
    assert facts["settings"]["train"]["objective"]["scale"] == 3.0


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ({"kind": "mse", "huber_delta": 0.3}, {"ss_loss_type": "l2", "ss_huber_c": "None"}),
        ({"kind": "huber", "huber_delta": 0.3}, {"ss_loss_type": "huber", "ss_huber_c": "0.3"}),
        ({"kind": "absolute"}, {"ss_loss_type": "l1", "ss_huber_c": "None"}),
    ],
)
def test_a_files_metadata_says_what_the_kind_says(kind, micro_model, micro_family, objective, said):
    facts = make_facts(micro_model, micro_family)
    facts["settings"]["train"]["objective"] |= objective
    metadata = told(facts)
    assert {name: metadata[name] for name in said} == said
