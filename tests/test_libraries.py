"""What a training's start loads, and what it leaves alone though it is installed."""

import subprocess
import sys

import pytest
from lightning_utilities.core.imports import RequirementCache

from lorakiln import libraries

# Extras, and what other libraries load for what no training asks of them.
UNUSED = ("bitsandbytes", "matplotlib", "onnxruntime", "optuna", "pandas", "pyarrow", "torchvision", "wandb")
UNUSED += (
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.pipelines.pipeline_utils",
    "lorakiln.evaluate.stage",
)


def test_a_training_loads_what_it_needs():
    """The whole of the second door before a model is loaded, in an interpreter that has loaded nothing."""
    program = f"""
import sys, lorakiln.runs, lorakiln.train.stage, lorakiln.families.sd.model
print(*sorted(name for name in {UNUSED} if sys.modules.get(name)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_within_it_only_some_libraries_are_found_and_after_it_all():
    with libraries._finding_only("torch"):
        assert RequirementCache("torch>=2.0") and not RequirementCache("matplotlib") and not RequirementCache("numpy>1")
        assert not RequirementCache(module="json")
        asked = RequirementCache("torchvision")
        assert not asked
    assert RequirementCache("matplotlib") and RequirementCache("numpy>1") and RequirementCache(module="json")
    assert not asked  # as it was answered


def test_it_is_given_back_after_an_error():
    with pytest.raises(ValueError, match="no"), libraries._finding_only("torch"):
        raise ValueError("no")
    assert RequirementCache("numpy>1")


def test_a_version_that_asks_in_another_way_finds_all(monkeypatch):
    monkeypatch.delattr(RequirementCache, "_check_available")
    with libraries._finding_only("torch"):
        assert not hasattr(RequirementCache, "_check_available")


def test_lightning_is_lightning():
    import lightning.pytorch

    assert libraries.import_lightning() is lightning.pytorch
