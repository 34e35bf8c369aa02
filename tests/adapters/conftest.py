"""The fixtures of the forms' tests serve here too."""

import copy

import pytest

from tests.lora_files.conftest import adapter, family

__all__ = ["adapter", "family"]


@pytest.fixture
def bare(micro_family):
    network = copy.deepcopy(micro_family.network)
    return network.requires_grad_(False).eval()
