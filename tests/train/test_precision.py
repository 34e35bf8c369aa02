"""Half precision against single: what it costs the training's numbers."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from lorakiln.adapters.lora_initialisation import NAME
from lorakiln.adapters.lora_network import layers_on
from lorakiln.adapters.targets import list_target_names
from lorakiln.families import load_family
from lorakiln.families.tensor_memory import META, GpuRules
from lorakiln.schema.adapters.lora import LoraSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.train.adapter_placement import inject_adapter
from lorakiln.train.precision import norm_in_half

TINY = ModelSettings.model_validate(read_yaml(Path("conf/model/tiny.yaml")))
BATCH = 4


@pytest.fixture(scope="module")
def told():
    return load_family(TINY, ("text",)).encode_prompts(["a red apple"] * BATCH)


class Single(TorchFunctionMode):
    """As autocast on a GPU: norms take and give float32."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (F.group_norm, F.layer_norm) and torch.is_autocast_enabled("cpu"):
            args = [one.float() if isinstance(one, torch.Tensor) else one for one in args]
            kwargs = {name: one.float() if isinstance(one, torch.Tensor) else one for name, one in kwargs.items()}
        return func(*args, **(kwargs or {}))


def test_norms_in_half_precision_train_as_well(told):
    """The error of a bf16 prediction and its gradients, against fp32, grows by a quarter at most where the norms give
    bf16 and not float32: what the CPU's autocast has always done."""

    def run(dtype: torch.dtype, norms: str) -> tuple[torch.Tensor, torch.Tensor]:
        family = load_family(TINY, ("network",), dtype=dtype)
        inject_adapter(family, LoraSettings(rank=4, alpha=4.0), list_target_names(family, "attention"), 0)
        generator = torch.Generator().manual_seed(1)
        for layer in layers_on(family.network).values():
            up = layer.lora_B[NAME].weight
            up.data = torch.randn(up.shape, generator=generator) * 0.02
            layer.cast_input_dtype_enabled = dtype == torch.float32
        if norms == "half":
            norm_in_half(family.network, "cpu")
        x, noise = (torch.randn(BATCH, *family.latent_shape(64, 64), generator=generator) for _ in range(2))
        times = torch.randint(1000, (BATCH,), generator=generator)
        with Single(), torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            predicted = family.predict(x, times, told).float()
        (predicted - noise).square().mean().backward()
        grads = [p.grad.flatten() for p in family.network.parameters() if p.requires_grad]
        return predicted.detach(), torch.cat(grads)

    true = run(torch.float32, "")
    errors = {
        norms: [float((a - b).norm() / b.norm()) for a, b in zip(run(torch.bfloat16, norms), true, strict=True)]
        for norms in ("single", "half")
    }
    assert all(half < 1.25 * single < 0.02 for half, single in zip(errors["half"], errors["single"], strict=True))


def test_norms_give_half_precision_under_autocast():
    norms = torch.nn.Sequential(torch.nn.GroupNorm(2, 4), torch.nn.LayerNorm(8)).to(META, torch.bfloat16)
    x = torch.empty(1, 4, 8, device=META, dtype=torch.bfloat16)
    with GpuRules() as rules, rules.autocast(torch.bfloat16):
        assert norms(x).dtype == torch.float32
        norm_in_half(norms, "cpu")
        assert norms(x).dtype == torch.bfloat16
