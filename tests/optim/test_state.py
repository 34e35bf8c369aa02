"""Any optimizer goes on bit for bit from its state, written as JSON and tensors, on one vector and on many tensors."""

import json

import pytest
import torch
from torch import nn

from lorakiln.optim.flat_weights import FlatWeights
from lorakiln.optim.state import count_state_bytes, put_state, take_state

SHAPES = {"down.a": (3, 5), "down.b": (7, 3), "mid.a": (2, 70), "up.a": (4, 4), "up.b": (65, 1)}


class Hoarder(torch.optim.Optimizer):
    """Holds what a state may hold: other dtypes, numbers, a list of tensors that grows, a tuple, a dict."""

    def __init__(self, groups):
        super().__init__(groups, {"lr": 0.1, "scale": 1.0, "betas": (0.5, 0.25)})
        for group in self.param_groups:
            group["seen"] = torch.zeros(3)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["scale"] *= 1.1
            group["seen"] += 1
            for weights in group["params"]:
                state = self.state[weights]
                if not state:
                    # 2 ** 24 + 1 is no float32, and 1 / 3 no bfloat16.
                    state.update(count=torch.tensor(2**24 + 1), third=torch.tensor(1 / 3, dtype=torch.float64))
                    state.update(mean=torch.zeros_like(weights, dtype=torch.bfloat16), last=[], far={1: {"x": 0.5}})
                state["count"] += 1
                state["mean"] = state["mean"] * 0.9 + weights.grad.bfloat16()
                state["last"] = [*state["last"], weights.grad.clone()][-2:]
                state["far"][1]["x"] /= 3
                step = state["mean"].float() * state["third"].float() + sum(state["last"]) * state["far"][1]["x"]
                assert isinstance(group["betas"], tuple) and state["count"].dtype == torch.int64
                odd = (state["count"] % 2).float() * group["seen"].mean()
                weights.sub_(step * group["lr"] * group["scale"] * (1 + odd))


OPTIMIZERS = {
    "Adam": lambda groups: torch.optim.Adam(groups, lr=1e-2),
    "amsgrad": lambda groups: torch.optim.Adam(groups, lr=1e-2, amsgrad=True),
    "fused AdamW": lambda groups: torch.optim.AdamW(groups, lr=1e-2, fused=True),
    "SGD": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True),
    "RMSprop": lambda groups: torch.optim.RMSprop(groups, lr=1e-2, momentum=0.5, centered=True),
    "Adamax": lambda groups: torch.optim.Adamax(groups, lr=1e-2),
    "Adagrad": lambda groups: torch.optim.Adagrad(groups, lr=1e-2, lr_decay=0.1),
    "Adadelta": torch.optim.Adadelta,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "Rprop": torch.optim.Rprop,
    "ASGD": lambda groups: torch.optim.ASGD(groups, t0=1),
    "Adafactor": torch.optim.Adafactor,
    "Muon": torch.optim.Muon,
    "Hoarder": Hoarder,
}
SHAPED = ("Adafactor", "Muon")  # they look at shapes


def build(name, elementwise):
    generator = torch.Generator().manual_seed(1)
    parameters = {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()}
    flat = FlatWeights(parameters.items(), lambda name: "up" if name.startswith("up") else "")
    return flat, OPTIMIZERS[name](flat.groups(elementwise)), flat.owners(elementwise)


def go(flat, optimizer, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for part in flat.split(flat.gradients).values():
            part.copy_(torch.randn(part.shape, generator=generator))
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "elementwise"), [(name, vector) for name in OPTIMIZERS for vector in {False, name not in SHAPED}]
)
def test_an_optimizer_goes_on_bit_for_bit(name, elementwise):
    flat, whole, owners = build(name, elementwise)
    go(flat, whole, range(4))
    record, tensors = take_state(whole, owners)
    record, tensors = json.loads(json.dumps(record)), {key: tensor.clone() for key, tensor in tensors.items()}
    weights = flat.split(flat.weights.data.clone())
    go(flat, whole, range(4, 9))

    other, rest, its_owners = build(name, elementwise)
    other.weights.data.copy_(other.join(weights))
    put_state(rest, its_owners, record, tensors)
    tensors.clear()
    go(other, rest, range(4, 9))
    assert torch.equal(other.weights, flat.weights) and flat.weights.isfinite().all()
    (one, its), (two, others) = take_state(whole, owners), take_state(rest, its_owners)
    assert json.dumps(one) == json.dumps(two) and its.keys() == others.keys()
    assert all(torch.equal(its[key], others[key]) and its[key].dtype == others[key].dtype for key in its)


def test_tensors_have_the_adapters_names():
    for elementwise in (True, False):
        flat, optimizer, owners = build("Adam", elementwise)
        go(flat, optimizer, range(1))
        names = set(take_state(optimizer, owners)[1])
        assert {f"optimizer.{key}/{name}" for key in ("exp_avg", "exp_avg_sq") for name in SHAPES} <= names
        counts = {"optimizer.step/all", "optimizer.step/up"} if elementwise else {f"optimizer.step/{n}" for n in SHAPES}
        assert names - counts == names - {name for name in names if "step/" in name} and counts <= names


def test_a_state_of_other_tensors_is_refused():
    flat, optimizer, owners = build("Adam", True)
    go(flat, optimizer, range(1))
    record, tensors = take_state(optimizer, owners)
    fresh, its_owners = build("Adam", True)[1:]
    missing = {key: tensor for key, tensor in tensors.items() if not key.endswith("mid.a")}
    with pytest.raises(KeyError, match=r"mid\.a"):
        put_state(fresh, its_owners, record, missing)
    with pytest.raises(RuntimeError, match="size"):
        put_state(fresh, its_owners, record, tensors | {"optimizer.exp_avg/mid.a": torch.zeros(7)})


def test_how_it_computes_is_as_it_was_built_here():
    """By the device that it is on now, not by the one that the checkpoint was written on."""
    flat, optimizer, owners = build("Adam", False)
    go(flat, optimizer, range(1))
    here = torch.optim.Adam(flat.groups(False), lr=1e-2, foreach=True)
    put_state(here, owners, *take_state(optimizer, owners))
    assert [group["foreach"] for group in here.param_groups] == [True, True]
    assert here.param_groups[0]["betas"] == (0.9, 0.999)


def test_what_no_checkpoint_can_hold_is_refused():
    flat, optimizer, owners = build("SGD", True)
    go(flat, optimizer, range(1))
    optimizer.param_groups[0]["rule"] = lambda: None
    with pytest.raises(TypeError, match=r"'param_groups\.0\.rule' is a <class 'function'>"):
        take_state(optimizer, owners)


def test_the_size_of_a_state_is_known_before_it_is_there():
    flat, _, _ = build("Adam", True)
    for name, moments in (("Adam", 2), ("SGD", 1), ("RMSprop", 3)):
        optimizer = OPTIMIZERS[name](flat.groups(True))
        assert count_state_bytes(OPTIMIZERS[name], optimizer) == pytest.approx(moments * flat.weights.nbytes, abs=16)
        assert not optimizer.state


def test_a_state_that_depends_on_numbers_is_guessed():
    class Reading(torch.optim.SGD):
        def step(self, closure=None):
            return float(self.param_groups[0]["params"][0].detach().norm())

    flat, _, _ = build("SGD", True)
    assert count_state_bytes(lambda groups: Reading(groups, lr=1.0), flat_optimizer(flat)) == 2 * flat.weights.nbytes


def flat_optimizer(flat):
    return torch.optim.SGD(flat.groups(True), lr=1.0)
