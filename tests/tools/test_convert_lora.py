"""Files of LyCORIS' kinds through the command: exact, or cut down with the loss that is told."""

import json
import re

import pytest
import torch

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.families import load_family
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_lora
from tests.lora_files.conftest import predict


@pytest.fixture
def deltas(micro_family):
    """A change for some of the micro model's layers, by their modules."""
    generator = torch.Generator().manual_seed(0)
    names = micro_family.target_modules("locon")
    wanted = ("attn1.to_q", "attn2.to_k", "proj_in", "conv1", "downsamplers.0.conv", "ff.net.2", "conv_shortcut")
    return {
        name: torch.randn(micro_family.network.get_submodule(name).weight.shape, generator=generator) * 0.1
        for name in names
        if name.endswith(wanted)
    }


def kohya(name, tensors):
    return {f"lora_unet_{name.replace('.', '_')}.{ending}": tensor for ending, tensor in tensors.items()}


@pytest.fixture
def full(tmp_path, deltas):
    path = tmp_path / "full.safetensors"
    metadata = {"ss_network_module": "lycoris.kohya", "ss_network_args": '{"algo": "full"}', "ss_network_dim": "1000"}
    save_tensors(
        path, {k: v for name, delta in deltas.items() for k, v in kohya(name, {"diff": delta}).items()}, metadata
    )
    return path


def predicted(model, path):
    family = load_family(model)
    Merged(family.adaptable(), read_lora(path).adapter).set_weights(1.0)
    return predict(family.network)


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_full_differences_become_loras_that_predict_the_same(tmp_path, micro_model, deltas, full, capsys, form):
    family = load_family(micro_model)
    base = predict(family.network)
    with torch.no_grad():
        for name, delta in deltas.items():
            family.network.get_submodule(name).weight += delta
    expected = predict(family.network)
    assert main(["convert", str(full), str(tmp_path / "out.safetensors"), "--to", form]) == 0
    said = capsys.readouterr().out
    assert f"of them as LoRAs {len(deltas)} full difference" in said and "nothing is lost" in said
    torch.testing.assert_close(predicted(micro_model, tmp_path / "out.safetensors"), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, base, atol=1e-2)


def test_the_loss_that_is_told_is_the_loss(tmp_path, deltas, full, capsys):
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(full), str(out), "--rank", "4"]) == 0
    said = capsys.readouterr().out
    found = read_lora(out)
    errors = {}
    for name, delta in deltas.items():
        layer = found.adapter.layers[f"unet.{name}"]
        assert layer.rank == 4
        errors[name] = float((layer.delta().reshape(delta.shape) - delta).norm() / delta.norm())
        # The best that four directions can do.
        values = torch.linalg.svdvals(delta.double().flatten(1))
        assert errors[name] == pytest.approx(float(values[4:].norm() / values.norm()), rel=1e-4)
    worst, mean = max(errors.values()), sum(errors.values()) / len(errors)
    told = re.search(r"(\d+) layers cut to rank 4: the relative error is ([\d.]+)% .* at most ([\d.]+)%", said)
    assert (int(told[1]), float(told[2]), float(told[3])) == (len(deltas), round(100 * mean, 2), round(100 * worst, 2))
    # What the file says of itself is true of the LoRA that it now is.
    metadata = found.adapter.metadata
    assert metadata["ss_network_module"] == "networks.lora" and metadata["ss_network_dim"] == "4"
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "4", "conv_alpha": "4.0"} and found.kinds == {}


def test_plain_layers_of_a_mixed_file_stay_as_they_are(tmp_path, capsys):
    linear, attention = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.attentions.0.proj_in"
    down, up = torch.randn(2, 32), torch.randn(32, 2)
    plain = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(1.0)}
    lokr = {"lokr_w1": torch.randn(4, 4), "lokr_w2": torch.randn(8, 8)}
    save_tensors(tmp_path / "x.safetensors", kohya(linear, plain) | kohya(attention, lokr))
    assert main(["convert", str(tmp_path / "x.safetensors"), str(tmp_path / "y.safetensors"), "--rank", "3"]) == 0
    assert "1 LoKr" in capsys.readouterr().out
    found = read_lora(tmp_path / "y.safetensors").adapter.layers
    assert torch.equal(found[f"unet.{linear}"].down, down) and torch.equal(found[f"unet.{linear}"].up, up)
    assert found[f"unet.{linear}"].alpha == 1.0 and found[f"unet.{attention}"].rank == 3


def test_inspect_tells_the_kinds_and_how_to_go_on(full, deltas, capsys):
    assert main(["inspect", str(full), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["kinds"].values()) == {"full difference"} and len(found["kinds"]) == len(deltas)
    assert found["norm"] == pytest.approx(sum(float(one.norm()) ** 2 for one in deltas.values()) ** 0.5, rel=1e-4)
    assert found["retrain"] == [f"lorakiln convert {full} lora.safetensors --rank 32"]


def test_a_rank_is_no_base_models(tmp_path, micro_model, capsys):
    assert main(["convert", micro_model.path, str(tmp_path / "out"), "--rank", "4"]) == 1
    assert "--rank: is for LoRA files" in capsys.readouterr().err
