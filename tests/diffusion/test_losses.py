"""The losses, against closed forms; and one that the package does not have, through the registry."""

import json
from typing import Literal

import pytest
import torch
from pydantic import Field

from lorakiln.console.errors import UserError
from lorakiln.diffusion.losses import huber, mse
from lorakiln.facts import RunFacts
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


def test_errors_against_closed_forms():
    d = torch.full((2, 1, 2, 2), 3.0)
    d[1] = 0.001
    found = mse.compute_errors(d, torch.zeros_like(d), MseSettings())
    torch.testing.assert_close(found, torch.tensor([9.0, 1e-6]))
    # 2 * 4 * (sqrt(9 + 16) - 4) = 8; and d^2 where d is small.
    found = huber.compute_errors(d.double(), torch.zeros_like(d).double(), HuberSettings(huber_delta=4.0))
    torch.testing.assert_close(found, torch.tensor([8.0, 1e-6], dtype=torch.float64), rtol=1e-4, atol=0)


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
    draws, seen = module._draws(0, samples), []
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
