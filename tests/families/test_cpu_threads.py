"""How many threads a base computes with."""

from types import SimpleNamespace

import pytest
import torch

from lorakiln.families import cpu_threads, load_family
from lorakiln.families.cpu_threads import LARGE, choosing_threads, is_small


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_a_small_base_has_one_thread_meanwhile(micro_model):
    family = load_family(micro_model, ())
    with pytest.raises(KeyError), choosing_threads(family):
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("device", "size"), [("cpu", LARGE), ("cuda", LARGE - 1)])
def test_others_have_what_torch_gives_them(monkeypatch, device, size):
    monkeypatch.setattr(cpu_threads, "count_held_bytes", lambda network: size)
    family = SimpleNamespace(device=torch.device(device), hollow=lambda parts: SimpleNamespace(network=parts))
    with choosing_threads(family):
        assert torch.get_num_threads() == 3
    assert is_small(family) == (size < LARGE)
