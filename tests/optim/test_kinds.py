"""Each optimizer moves weights as the class does that a file's metadata names, given the arguments that stand there."""

import ast
import importlib
import json

import pytest
import torch
from torch import nn

from lorakiln.console.errors import UserError
from lorakiln.libraries import import_bitsandbytes
from lorakiln.optim import find_optimizer, kohya_name
from lorakiln.optim.flat_weights import FlatWeights
from lorakiln.optim.protocol import Averages, read_rate_factor
from lorakiln.optim.state import count_state_bytes, iterate_state_tensors, put_state, take_state
from lorakiln.schema.optimizers import OPTIMIZERS

# What LoRAs are made of: matrices, convolutions, and DoRA's magnitudes.
SHAPES = {
    "down.a": (4, 30),
    "down.b": (70, 4),
    "mid.conv": (4, 5, 3, 3),
    "mid.up": (9, 4, 1, 1),
    "up.m": (33,),
    "up.wide": (8, 600),
}
STEPS = 30
KINDS = {
    "adamw": {},
    "sgd": {"lr": 1e-1, "nesterov": True, "weight_decay": 0.1},
    "lion": {"weight_decay": 1.0},
    "adafactor": {"weight_decay": 1.0, "beta1": 0.9},
    "adafactor, scaled": {"scale_parameter": True, "clip_threshold": 0.7},
    "adafactor, relative": {"lr": 1.0, "relative_step": True, "scale_parameter": True},
    "adafactor, warming": {"lr": 1.0, "relative_step": True, "warmup_init": True},
    "came": {"weight_decay": 1.0},
    "prodigy": {"lr": 1.0, "weight_decay": 0.5, "d0": 1e-4},
    "prodigy, bounded": {"lr": 1.0, "growth_rate": 1.5, "d0": 1e-4, "safeguard_warmup": False, "d_coef": 0.5},
    "prodigy, plain": {"lr": 1.0, "use_bias_correction": False, "beta3": 0.9},
    "dadapt_adam": {"lr": 1.0, "weight_decay": 0.5},
    "dadapt_adam, bounded": {"lr": 0.5, "growth_rate": 1.5, "use_bias_correction": False},
    "schedule_free": {"weight_decay": 1.0, "r": 1.0},
    "muon": {"weight_decay": 1.0},
    "muon, original": {"adjust_lr_fn": "original", "nesterov": False, "lr": 1e-3},
    "adamw8bit": {},
}
FINDING = ("prodigy", "dadapt_adam")


def settings_of(name):
    kind = name.partition(",")[0]
    return OPTIMIZERS.settings(kind)(**{"lr": 1e-2, "kind": kind, **KINDS[name]})


def first_weights():
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in SHAPES.items()}


def gradients_of(step):
    """Mostly one way, so that there is a distance to find; noise on it."""
    generator = torch.Generator().manual_seed(100 + step)
    return {
        name: torch.randn(shape, generator=generator) * 0.3 + torch.ones(shape).cumsum(-1) / shape[-1]
        for name, shape in SHAPES.items()
    }


def rate_of(settings, step):
    """Warms up from 0; a relative step, which transformers' class has no rate beside, does so by itself."""
    return settings.lr if getattr(settings, "relative_step", False) else settings.lr * min(1.0, step / 5)


def build(name):
    settings = settings_of(name)
    if settings.kind == "adamw8bit":
        try:
            import_bitsandbytes("a test")
        except UserError as error:
            pytest.skip(error.what)
    flat = FlatWeights({name: nn.Parameter(value) for name, value in first_weights().items()}.items(), part_of)
    kind = find_optimizer(settings)
    return flat, kind.build(flat.groups(kind.ELEMENTWISE), settings), flat.owners(kind.ELEMENTWISE), settings


def part_of(name):
    return "down" if name.startswith("down") else ""


def go(flat, optimizer, settings, steps):
    for step in steps:
        for name, piece in flat.split(flat.gradients).items():
            piece.copy_(gradients_of(step)[name])
        for group in optimizer.param_groups:
            group["lr"] = rate_of(settings, step)
        optimizer.step()


def named_class(settings, parameters):
    """The optimizer that ss_optimizer names, with its arguments."""
    call = ast.parse(kohya_name(settings), mode="eval").body
    path, _, name = ast.unparse(call.func).rpartition(".")
    # Texts stand there without quotes, as sd-scripts writes them.
    given = {
        one.arg: one.value.id if isinstance(one.value, ast.Name) else ast.literal_eval(one.value)
        for one in call.keywords
    }
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    # transformers' Adafactor takes no rate beside a relative step.
    rate = None if given.get("relative_step") else settings.lr
    package = path.partition(".")[0]
    pytest.importorskip(package)
    return getattr(importlib.import_module(path), name)(parameters, lr=rate, **given)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "adamw8bit"])
def test_the_class_that_the_metadata_name_moves_them_alike(name):
    flat, ours, _, settings = build(name)
    go(flat, ours, settings, range(STEPS))

    shaped = not find_optimizer(settings).ELEMENTWISE
    flattened = shaped and settings.kind != "adamw"
    theirs = {
        key: nn.Parameter(value.flatten(1) if flattened and value.dim() > 2 else value)
        for key, value in first_weights().items()
    }
    rest = [theirs.pop("up.m")] if settings.kind == "muon" else []
    optimizers = [named_class(settings, list(theirs.values()))]
    if rest:  # vectors are AdamW's
        optimizers.append(
            torch.optim.AdamW(rest, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay)
        )
        theirs["up.m"] = rest[0]
    for optimizer in optimizers:
        optimizer.train() if isinstance(optimizer, Averages) else None
    for step in range(STEPS):
        for key, value in theirs.items():
            value.grad = gradients_of(step)[key].view_as(value).clone()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = None if getattr(settings, "relative_step", False) else rate_of(settings, step)
            optimizer.step()
    if isinstance(ours, Averages):
        ours.eval()
        optimizers[0].eval()
    moved = flat.split(flat.weights.data)
    for key, value in theirs.items():
        expected, begun = value.data.view(SHAPES[key]), first_weights()[key]
        off = (moved[key] - expected).norm() / (expected - begun).norm()
        assert off < 2e-5, (key, float(off))
    if settings.kind in FINDING:
        assert read_rate_factor(ours) == pytest.approx(optimizers[0].param_groups[0]["d"], rel=1e-5)
        assert read_rate_factor(ours) > 2 * settings.d0, read_rate_factor(ours)
    else:
        found = {"adafactor, relative": 0.01, "adafactor, warming": STEPS * 1e-6}.get(name)
        assert read_rate_factor(ours) == found


@pytest.mark.parametrize("name", KINDS)
def test_each_goes_on_bit_for_bit_and_holds_what_was_counted(name):
    flat, whole, owners, settings = build(name)
    go(flat, whole, settings, range(10))
    record, tensors = take_state(whole, owners)
    record, tensors = json.loads(json.dumps(record)), {key: tensor.clone() for key, tensor in tensors.items()}
    weights = flat.split(flat.weights.data.clone())
    go(flat, whole, settings, range(10, 15))

    other, rest, its_owners, _ = build(name)
    other.weights.data.copy_(other.join(weights))
    put_state(rest, its_owners, record, tensors)
    go(other, rest, settings, range(10, 15))
    # By tensor: what lies between them, with moments of 8 bits, need not be zero.
    now, expected = other.split(other.weights.data), flat.split(flat.weights.data)
    assert all(torch.equal(now[key], expected[key]) and not torch.equal(now[key], weights[key]) for key in SHAPES)
    assert read_rate_factor(rest) == read_rate_factor(whole)

    held = sum(tensor.nbytes for tensor in iterate_state_tensors(whole.state))
    counted = count_state_bytes(lambda groups: find_optimizer(settings).build(groups, settings), whole)
    assert counted == pytest.approx(held, rel=1e-3, abs=64)


def test_moments_of_8_bits_are_near_those_of_32():
    flat, optimizer, _, settings = build("adamw8bit")
    plain, usual, _, _ = build("adamw")
    go(flat, optimizer, settings, range(STEPS))
    go(plain, usual, settings, range(STEPS))
    begun = plain.join(first_weights())
    kept = [state["state1"].dtype for state in optimizer.state.values()]
    # The library keeps vectors of fewer than 4,096 numbers as they are.
    sizes = [group["params"][0].numel() for group in optimizer.param_groups]
    assert kept == [torch.float32 if size < 4096 else torch.uint8 for size in sizes] and torch.uint8 in kept
    assert (flat.weights - plain.weights).norm() < 0.05 * (plain.weights - begun).norm()


def test_a_part_whose_rate_is_0_stays():
    for name in KINDS:
        flat, optimizer, _, settings = build(name)
        begun = {key: value.clone() for key, value in flat.split(flat.weights.data).items()}
        for step in range(1, 4):
            for key, piece in flat.split(flat.gradients).items():
                piece.copy_(gradients_of(step)[key])
            for group in optimizer.param_groups:
                group["lr"] = 0.0 if group["name"] == "down" else settings.lr
            optimizer.step()
        moved = flat.split(flat.weights.data)
        assert all(torch.equal(moved[key], begun[key]) == key.startswith("down") for key in SHAPES), name


def test_those_that_find_one_rate_refuse_two():
    for kind in FINDING:
        make = OPTIMIZERS.settings(kind)
        make(lr=1.0, part_lrs={"up_blocks": 0.0, "mid_block": 1.0})
        with pytest.raises(ValueError, match="finds one rate for all parts, so that up_blocks can have 0, or the lr 1"):
            make(lr=1.0, part_lrs={"up_blocks": 0.5})
        # Other settings than the optimizer's may make several, too.
        _, optimizer, _, _ = build(kind)
        optimizer.param_groups[0]["lr"] = 0.5
        with pytest.raises(UserError, match=f"{kind} finds one learning rate for all weights, .* several, 0.5, 1"):
            optimizer.step()


def test_settings_that_mean_nothing_are_refused():
    for kind, given, why in [
        ("sgd", {"nesterov": True, "momentum": 0.0}, "set momentum"),
        ("adafactor", {"warmup_init": True}, "warmup_init is of relative_step"),
        ("pytorch_optimizer", {"name": "AdaHessian"}, "needs second derivatives"),
        ("pytorch_optimizer", {"args": {"lr": 1.0}}, "lr stands beside args"),
        ("pytorch_optimizer", {"args": {"betas": {"a": 1}}}, "args.betas must be a number"),
        ("pytorch_optimizer", {"args": {"eps": float("inf")}}, "args.eps must be a number"),
    ]:
        with pytest.raises(ValueError, match=why):
            OPTIMIZERS.settings(kind)(lr=1e-3, **given)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_gradient_that_is_not_finite_changes_nothing(name):
    """Of those that are masked on the device; another one's step is left out."""
    flat, optimizer, _, settings = build(name)
    assert find_optimizer(settings).MASKED
    go(flat, optimizer, settings, range(3))
    before, held = flat.weights.data.clone(), [tensor.clone() for tensor in iterate_state_tensors(optimizer.state)]
    flat.gradients.fill_(float("nan"))
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert torch.equal(flat.weights.data, before)
    assert all(map(torch.equal, iterate_state_tensors(optimizer.state), held))


def test_all_others_are_left_out():
    masked = {name for name in KINDS if find_optimizer(settings_of(name)).MASKED}
    assert masked == {"adamw", "sgd"}


def test_a_library_without_kernels_for_the_device_is_refused(monkeypatch):
    def step(optimizer):
        raise NotImplementedError("no kernel for CPU\nmore")

    build("adamw8bit")
    monkeypatch.setattr("bitsandbytes.optim.AdamW8bit.step", step)
    with pytest.raises(UserError, match="has no 8-bit AdamW for cpu: no kernel for CPU"):
        build("adamw8bit")
