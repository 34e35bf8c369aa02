"""Attention by the kernel's name."""

import csv
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch.nn.attention import SDPBackend

from lorakiln.console.errors import UserError
from lorakiln.train import attention
from lorakiln.train.attention import check_attention, list_head_sizes


def losses(out):
    with (out / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_kernels_train_the_same(train_micro, make_settings, monkeypatch):
    asked = []
    chosen = attention.sdpa_kernel
    monkeypatch.setattr(attention, "sdpa_kernel", lambda kernel: asked.append(kernel) or chosen(kernel))
    found = [losses(train_micro(make_settings(trainer={"attention": name}), name)) for name in ("math", "flash")]
    assert set(asked) == {SDPBackend.MATH, SDPBackend.FLASH_ATTENTION}
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_kernel_that_is_not_there_is_refused_before_the_training(train_micro, make_settings):
    with pytest.raises(UserError) as refused:
        train_micro(make_settings(trainer={"attention": "cudnn"}))
    assert refused.value.where == "train.trainer.attention=cudnn"
    assert "no such kernel for cpu, float32 and heads of" in refused.value.what
    assert "here these work: math, flash" in refused.value.fix


def test_the_trial_has_the_networks_heads(micro_family):
    network = micro_family.hollow(("network",)).network
    wanted = {one.inner_dim // one.heads for one in network.modules() if isinstance(one, Attention)}
    assert list_head_sizes(network) == sorted(wanted) and wanted
    check_attention("math", SimpleNamespace(hollow=micro_family.hollow, device=torch.device("cpu")), torch.float16)
