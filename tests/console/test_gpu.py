"""What `auto` comes to is known without torch where there can be no GPU."""

import builtins
import sys
from types import SimpleNamespace

import pytest

from lorakiln.console import gpu


@pytest.fixture
def without_torch(monkeypatch):
    """As before torch is loaded; the names of what is imported from here on, torch being a stand-in that has a GPU."""
    asked, torch = [], SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    load = builtins.__import__
    monkeypatch.setattr(
        builtins,
        "__import__",
        lambda name, *given: (asked.append(name), torch)[1] if name == "torch" else load(name, *given),
    )
    return asked


def test_without_a_driver_torch_is_not_asked(without_torch, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "DRIVERS", (tmp_path / "none",))
    monkeypatch.setattr(sys, "platform", "linux")
    assert gpu.find_device_type() == "cpu" and without_torch == []


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_where_there_may_be_a_gpu_torch_is_asked(without_torch, monkeypatch, tmp_path, platform):
    (tmp_path / "driver").touch()
    monkeypatch.setattr(gpu, "DRIVERS", (tmp_path / "none", *([tmp_path / "driver"] if platform == "linux" else [])))
    monkeypatch.setattr(sys, "platform", platform)
    assert gpu.find_device_type() == "cuda" and without_torch == ["torch"]


@pytest.mark.parametrize(("there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_once_it_is_loaded_torch_is_asked(monkeypatch, there, kind):
    """It may have been told of a GPU that the system does not show."""
    monkeypatch.setattr(gpu, "DRIVERS", ())
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: there)))
    assert gpu.find_device_type() == kind
