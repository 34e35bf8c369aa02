"""The base in float16: a scaled loss, and steps that are left out."""

import csv
import json

import pytest
import torch

from lorakiln.families.tensor_memory import META
from lorakiln.optim.state import iterate_state_tensors
from lorakiln.schema.train import EmaSettings
from lorakiln.train import loss_scale
from lorakiln.train.ema import WeightAverage
from lorakiln.train.loss_scale import LossScale
from lorakiln.train.share import Share
from lorakiln.train.step_metrics import StepLosses


def test_the_factor_is_torchs(monkeypatch):
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer, theirs = torch.optim.SGD([weight], lr=0.1), torch.amp.GradScaler("cpu", growth_interval=3)
    mine = LossScale(torch.device("cpu"))
    for overflow in [1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]:
        weight.grad = theirs.scale(torch.tensor([float("inf") if overflow else 1.0]))
        theirs.step(optimizer)
        theirs.update()
        mine.update(torch.tensor(bool(overflow)))
        assert mine.value.item() == theirs.get_scale()
    again = LossScale(torch.device("cpu"))
    again.put({name: tensor.clone() for name, tensor in mine.tensors().items()})
    for one in (mine, again):
        for _ in range(3):
            one.update(torch.tensor(False))
    assert again.value.item() == mine.value.item() == 2 * theirs.get_scale()


def test_the_factor_does_not_grow_beyond_what_a_number_holds(monkeypatch):
    monkeypatch.setattr(loss_scale, "INTERVAL", 1)
    scale = LossScale(torch.device("cpu"))
    for _ in range(200):
        scale.update(torch.tensor(False))
    assert scale.value.item() == 2.0**127


def half(module):
    module.family.dtype = torch.float16
    for name, parameter in module.network.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.half()
    module.network.train()
    return module


def take_step(module):
    """As Lightning does it."""
    module.optimizers = lambda use_pl_optimizer: module.optimizer
    module.training_step(0, 0)


def test_a_step_that_overflows_is_left_out_and_the_next_is_as_good(make_module):
    exact, module = make_module(), half(make_module(share=Share(fp16=True)))
    exact.network.train()
    # Twice the factor from which on the gradients are infinite in float16; the losses are not multiplied.
    module.scale.value.fill_(2.0**100)
    before = module.flat.weights.data.clone()
    for _ in range(2):
        take_step(module)
    assert torch.equal(module.flat.weights.data, before)
    assert not any(tensor.any() for tensor in iterate_state_tensors(module.optimizer.state))
    assert module.scale.value.item() == 2.0**98 and module.step_losses.read() is None
    module.scale.value.fill_(2.0**10)
    for one in (exact, module):
        one.done = 2
        take_step(one)
    assert module.flat.gradients[-1].item() == pytest.approx(exact.flat.gradients[-1].item(), rel=0.01)
    off = (module.flat.gradients - exact.flat.gradients)[:-1].norm()
    assert off < 0.05 * exact.flat.gradients[:-1].norm()
    assert not torch.equal(module.flat.weights.data, before)
    # Of three steps one had a gradient.
    assert module.step_losses.read() is None and 0 < module.step_losses.means()[1] < float("inf")


def test_gradients_that_overflow_unscaled_end_the_run(make_module):
    module = half(make_module(share=Share(fp16=True)))
    module.scale.value.fill_(1.0)
    module.step_losses.push(0, torch.tensor(1.0), torch.tensor(1.0))
    step = module.loss

    def broken(*arguments):
        return step(*arguments) * 1e38 * 1e38

    module.loss = broken
    take_step(module)
    assert module.step_losses.read() == 0


def test_a_run_in_fp16(train_micro, make_settings):
    exact = train_micro(make_settings(), "exact")
    out = train_micro(make_settings(trainer={"precision": "fp16"}))
    assert json.loads((out / "facts.json").read_text())["precision"] == "fp16"
    rows, others = (list(csv.DictReader((one / "metrics.csv").open())) for one in (out, exact))
    assert [float(row["loss"]) for row in rows] == pytest.approx([float(row["loss"]) for row in others], rel=0.02)
    assert all(float(row["grad_norm"]) > 0 for row in rows)


def test_nothing_of_it_leaves_the_device():
    """Torch's meta device refuses what mixes it with the CPU, and to be waited for."""
    scale, losses = LossScale(META), StepLosses(META)
    loss, norm = torch.empty((), device=META), torch.empty((), device=META)
    overflow = ~norm.isfinite() & (scale.value > 1)
    scale.update(overflow)
    assert losses.push(0, loss * scale.value, norm, overflow).is_meta
    assert all(tensor.is_meta for tensor in scale.tensors().values())
    average = WeightAverage(torch.empty(8, device=META), EmaSettings(decay=0.9))
    average.update(torch.empty(8, device=META), 3)
    assert average.weights.is_meta
