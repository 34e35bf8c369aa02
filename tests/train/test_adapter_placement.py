"""An adapter that training begins with, of whatever kind its file is."""

import shlex

import pytest
import torch

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.lora_files.reading import read_any
from lorakiln.schema.adapters.lora import LoraSettings
from lorakiln.train.adapter_placement import inject_adapter
from tests.adapters.networks import adapted

TARGETS = ["proj_in", "to_q"]


def write(path, family, tensors_of):
    """A LyCORIS file on all of TARGETS; `tensors_of(out, in)`: one layer's."""
    tensors = {}
    for name, module in family.network.named_modules():
        if name.endswith(tuple(TARGETS)):
            out, into = module.weight.shape[:2]
            layer = tensors_of(out, into)
            tensors |= {f"lora_unet_{name.replace('.', '_')}.{ending}": one for ending, one in layer.items()}
    save_tensors(path, tensors)
    return path


def loha(out, into):
    return {
        "hada_w1_a": torch.randn(out, 2),
        "hada_w1_b": torch.randn(2, into),
        "hada_w2_a": torch.randn(out, 2),
        "hada_w2_b": torch.randn(2, into),
        "alpha": torch.tensor(1.0),
    }


def settings(path, rank):
    return LoraSettings(rank=rank, alpha=rank, targets=TARGETS, init_from=str(path))


def test_training_goes_on_from_loha_exactly(tmp_path, micro_model):
    family = load_family(micro_model, ("network",))
    path = write(tmp_path / "x.safetensors", family, loha)
    names = [name for name, _ in family.network.named_modules() if name.endswith(tuple(TARGETS))]
    inject_adapter(family, settings(path, 4), names, 0)
    from safetensors.torch import load_file

    given, found = load_file(path), adapted(family.network).read()
    assert len(found.layers) == len(names)
    for name in names:
        a, b, c, d = (
            given[f"lora_unet_{name.replace('.', '_')}.hada_{end}"] for end in ("w1_a", "w1_b", "w2_a", "w2_b")
        )
        expected = 1 / 2 * (a @ b) * (c @ d)
        layer = found.layers[f"unet.{name}"]
        assert (layer.delta().flatten(1) - expected).norm() / expected.norm() < 1e-6


def test_what_is_of_no_low_rank_is_converted_first_by_the_command_that_is_told(tmp_path, micro_model):
    family = load_family(micro_model, ("network",))
    path = write(tmp_path / "x.safetensors", family, lambda out, into: {"diff": torch.randn(out, into)})
    names = [name for name, _ in family.network.named_modules() if name.endswith(tuple(TARGETS))]
    with pytest.raises(UserError, match="full difference, whose changes of the weights are of no low rank") as caught:
        inject_adapter(load_family(micro_model, ("network",)), settings(path, 4), names, 0)
    words = caught.value.fix.split()
    assert words[:2] == ["lorakiln", "convert"]
    out = tmp_path / "lora.safetensors"
    assert main([str(out) if word == "lora.safetensors" else word for word in words[1:6]]) == 0
    inject_adapter(family, settings(out, 4), names, 0)
    assert {layer.rank for layer in adapted(family.network).read().layers.values()} == {4}


def dora(out, into):
    down, up = torch.randn(2, into), torch.randn(out, 2)
    return {"lora_down.weight": down, "lora_up.weight": up, "dora_scale": torch.ones(out, 1)}


def test_what_depends_on_the_base_is_converted_first_by_the_command_that_is_told(tmp_path, micro_model):
    family = load_family(micro_model, ("network",))
    path = write(tmp_path / "x.safetensors", family, dora)
    names = [name for name, _ in family.network.named_modules() if name.endswith(tuple(TARGETS))]
    with pytest.raises(UserError, match="its layers are DoRA, whose changes of the weights are of no low") as caught:
        inject_adapter(load_family(micro_model, ("network",)), settings(path, 4), names, 0)
    words = shlex.split(caught.value.fix)
    assert words[:2] == ["lorakiln", "convert"] and words[6:8] == ["--base", micro_model.path]
    out = tmp_path / "lora.safetensors"
    assert main([str(out) if word == "lora.safetensors" else word for word in words[1:8]]) == 0
    inject_adapter(family, settings(out, 4), names, 0)
    found = adapted(family.network).read()
    assert {layer.rank for layer in found.layers.values()} == {4}
    for name in names:
        weight = load_family(micro_model, ("network",)).network.get_submodule(name).weight.detach()
        whole = read_any(path).adapter.relative[f"unet.{name}"].change_of(weight)
        u, s, v = torch.linalg.svd(whole.flatten(1))
        best = u[:, :4] * s[:4] @ v[:4]
        torch.testing.assert_close(found.layers[f"unet.{name}"].delta().flatten(1), best, rtol=1e-3, atol=1e-4)


def test_ranks_that_differ_and_linear_layers_for_convolutions(tmp_path, micro_model):
    family = load_family(micro_model, ("network",))
    ranks = iter(range(2, 99))

    def lora(out, into):
        rank = min(next(ranks), 4)
        return {"lora_down.weight": torch.randn(rank, into), "lora_up.weight": torch.randn(out, rank)}

    path = write(tmp_path / "x.safetensors", family, lora)
    names = [name for name, _ in family.network.named_modules() if name.endswith(tuple(TARGETS))]
    with pytest.raises(UserError, match="its rank is 4, the settings' 3") as caught:
        inject_adapter(load_family(micro_model, ("network",)), settings(path, 3), names, 0)
    assert "--rank 3" in caught.value.fix
    inject_adapter(family, settings(path, 4), names, 0)
    from safetensors.torch import load_file

    given = load_file(path)
    for name, layer in adapted(family.network).read().layers.items():
        key = f"lora_unet_{name.removeprefix('unet.').replace('.', '_')}"
        expected = given[f"{key}.lora_up.weight"] @ given[f"{key}.lora_down.weight"]
        torch.testing.assert_close(layer.delta().flatten(1), expected, rtol=1e-4, atol=1e-5)
