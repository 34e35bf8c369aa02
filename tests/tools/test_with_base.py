"""Files whose layers depend on the base model (DoRA, OFT, IA3) through the command, on folders and single files."""

import copy
import json
import re
import shlex
import shutil

import pytest
import torch
from safetensors.torch import load_file

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.families import load_family, sd
from lorakiln.families import sdxl as xl
from lorakiln.families.layer_names import to_canonical_name
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_lora
from lorakiln.lora_files.writing import write_lora
from tests.families.single_files import single_of, write_pair
from tests.lora_files.conftest import predict

ENDS = ("attn1.to_q", "proj_in", "resnets.0.conv1", "self_attn.k_proj", "attn2.to_k", "attn1.to_v")


def lengthened(weight, up, down, magnitude):
    """DoRA of every output, the definition."""
    whole = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return whole / whole.flatten(1).norm(dim=1).reshape(magnitude.shape) * magnitude


def write(path, family, sdxl=False):
    """DoRA, OFT and IA3 in turns on some modules of every part; and the networks' states that they make."""
    generator = torch.Generator().manual_seed(0)
    tensors, networks = {}, copy.deepcopy(family.adaptable())
    found = [
        (f"{part}.{name}", module)
        for part, network in networks.items()
        for name, module in network.named_modules()
        if name.endswith(ENDS)
    ]
    for number, (name, module) in enumerate(found):
        weight = module.weight.data
        out, into, *tail = weight.shape
        if number % 3 == 0:
            down = torch.randn(2, into, *tail, generator=generator) * 0.2
            up = torch.randn(out, 2, *(1,) * len(tail), generator=generator) * 0.2
            magnitude = torch.rand(out, 1, *(1,) * len(tail), generator=generator) + 0.5
            layer = {"lora_up.weight": up, "lora_down.weight": down, "dora_scale": magnitude}
            changed = lengthened(weight, up, down, magnitude)
        elif number % 3 == 1:
            blocks = torch.randn(out // 4, 4, 4, generator=generator) * 0.3
            skew, one = blocks - blocks.mT, torch.eye(4)
            turn = torch.block_diag(*((one + skew) @ torch.linalg.inv(one - skew)))
            layer = {"oft_blocks": blocks, "alpha": torch.tensor(0.0)}
            changed = (turn.T @ weight.flatten(1)).reshape(weight.shape)
        else:
            more = torch.randn(into, generator=generator) * 0.3
            layer = {"weight": more.reshape(1, -1, 1, 1) if tail else more, "on_input": torch.tensor(1)}
            changed = weight * (1 + more.reshape(1, -1, *(1,) * len(tail)))
        tensors |= {
            f"{(xl if sdxl else sd).kohya_name(to_canonical_name(name))}.{ending}": one for ending, one in layer.items()
        }
        module.weight.data = changed
    assert len(found) >= 6
    save_tensors(path, tensors)
    return states(networks)


def states(networks):
    return {
        f"{part}.{name}": value for part, network in networks.items() for name, value in network.state_dict().items()
    }


def assert_close(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", ["sd15", "sd21_v", "sdxl"])
def test_every_way_to_a_base_makes_the_same_weights(tmp_path, kind, capsys):
    folder, single = write_pair(tmp_path / "pair", kind)
    file, family = tmp_path / "x.safetensors", load_family(folder)
    expected = write(file, family, kind == "sdxl")
    config = ["--config", folder.path]
    # Merged into a folder and into a single file.
    assert main(["merge", str(file), "--into", folder.path, "--out", str(tmp_path / "folder")]) == 0
    assert main(["merge", str(file), "--into", single.path, "--out", str(tmp_path / "one.safetensors"), *config]) == 0
    for settings in (
        folder.model_copy(update={"path": str(tmp_path / "folder")}),
        single_of(folder, tmp_path / "one.safetensors"),
    ):
        assert_close(states(load_family(settings).adaptable()), expected)
    # As a LoRA, made with either.
    for base in (folder.path, single.path):
        out = tmp_path / "lora.safetensors"
        assert main(["convert", str(file), str(out), "--base", base, *config, "--overwrite"]) == 0
        assert "nothing is lost" in capsys.readouterr().out
        bare = load_family(folder).adaptable()
        Merged(bare, read_lora(out).adapter).set_weights(1.0)
        assert_close(states(bare), expected)


@pytest.fixture
def file(tmp_path, micro_family):
    write(tmp_path / "x.safetensors", micro_family)
    return tmp_path / "x.safetensors"


def test_a_cut_tells_what_is_lost(file, tmp_path, micro_model, capsys):
    whole, small = tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    assert main(["convert", str(file), str(whole), "--base", micro_model.path]) == 0
    assert main(["convert", str(file), str(small), "--base", micro_model.path, "--rank", "4"]) == 0
    told = capsys.readouterr().out
    assert "of them as LoRAs" in told and "DoRA" in told and "OFT" in told and "IA3" in told
    layers = read_lora(small).adapter.layers
    assert max(layer.rank for layer in layers.values()) == 4
    lost = []
    for name, layer in read_lora(whole).adapter.layers.items():
        delta = layer.delta()
        lost.append(float((layers[name].delta() - delta).norm() / delta.norm()))
    mean = sum(lost) / len(lost)
    assert f"the relative error is {mean:.2%} on average, at most {max(lost):.2%}" in told
    assert load_file(small).keys() == load_file(whole).keys()
    assert read_lora(small).adapter.metadata["ss_network_module"] == "networks.lora"


def test_of_one_part_alone_the_base_needs_no_other(file, tmp_path, micro_model):
    base, out = tmp_path / "base", tmp_path / "unet.safetensors"
    shutil.copytree(micro_model.path, base, ignore=shutil.ignore_patterns("text_encoder"))
    assert main(["convert", str(file), str(out), "--base", str(base), "--only", "unet"]) == 0
    assert main(["convert", str(file), str(tmp_path / "all.safetensors"), "--base", micro_model.path]) == 0
    everything = read_lora(tmp_path / "all.safetensors").adapter.layers
    found = read_lora(out).adapter.layers
    assert set(found) == {name for name in everything if name.startswith("unet.")} != set(everything)
    for name, layer in found.items():
        assert torch.equal(layer.delta(), everything[name].delta())


def test_a_merge_takes_every_change_of_the_base_itself(tmp_path, micro_family, micro_model):
    name = next(name for name, _ in micro_family.network.named_modules() if name.endswith("attn1.to_q"))
    weight = micro_family.network.get_submodule(name).weight.detach()
    up, down, magnitude = torch.randn(len(weight), 2), torch.randn(2, weight.shape[1]), torch.rand(len(weight), 1) + 1
    tensors = {"lora_up.weight": up, "lora_down.weight": down, "dora_scale": magnitude}
    key = "lora_unet_" + name.replace(".", "_")
    save_tensors(tmp_path / "dora.safetensors", {f"{key}.{ending}": one for ending, one in tensors.items()})
    plain = Layer(torch.randn(2, weight.shape[1]), torch.randn(len(weight), 2), 2.0)
    write_lora(Adapter({f"unet.{name}": plain}), tmp_path / "lora.safetensors", "kohya")
    files = [f"{tmp_path}/lora.safetensors", f"{tmp_path}/dora.safetensors:0.5"]
    assert main(["merge", *files, "--into", micro_model.path, "--out", str(tmp_path / "out")]) == 0
    found = load_family(micro_model.model_copy(update={"path": str(tmp_path / "out")}))
    expected = weight + plain.delta() + 0.5 * (lengthened(weight, up, down, magnitude) - weight)
    torch.testing.assert_close(found.network.get_submodule(name).weight, expected, rtol=1e-5, atol=1e-5)


def test_inspect_says_what_it_is_without_a_base(file, capsys):
    assert main(["inspect", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["kinds"].values()) == {"DoRA", "OFT", "IA3"}
    assert found["needs_base"] == len(found["layers"]) == sum(found["parts"].values()) == len(found["kinds"])
    assert set(found["ranks"]) == {"2"} and found["parameters"] == sum(
        one.numel() for key, one in load_file(file).items() if not key.endswith(("alpha", "on_input"))
    )
    assert all(one["norm"] is None and one["kind"] in ("DoRA", "OFT", "IA3") for one in found["layers"])
    assert found["retrain"] == [f"lorakiln convert {file} lora.safetensors --rank 32 --base BASE"]
    assert main(["inspect", str(file), "--layers"]) == 0
    told = capsys.readouterr().out
    assert "of these do depends on the base model's weights\n" in told and "norm" not in told
    assert all(one["name"] in told for one in found["layers"])


def run_printed(error, out, base):
    """The command that a refusal prints, as a user would complete it."""
    (command,) = re.findall("`(lorakiln .*?)`", error)
    words = [{"BASE": base, "lora.safetensors": str(out)}.get(word, word) for word in shlex.split(command)[1:]]
    return main(words)


def test_without_a_base_it_is_asked_for(file, tmp_path, capsys, micro_model):
    out = tmp_path / "out.safetensors"
    for arguments in (
        ["convert", str(file), str(out)],
        ["resize", str(file), str(out), "--rank", "2"],
        ["merge", str(file), "--out", str(out)],
    ):
        assert main(arguments) == 1 and not out.exists()
        error = capsys.readouterr().err
        assert "what its DoRA, IA3 and OFT layers make of them" in error
        assert f"`lorakiln convert {file} lora.safetensors --base BASE`, with --rank 32 to cut it down" in error
    assert run_printed(error, out, micro_model.path) == 0 and read_lora(out).form == "kohya"


def test_biases_and_norms_are_left_out_where_that_is_asked_for(file, tmp_path, micro_model, capsys):
    bias = "lora_unet_down_blocks_0_resnets_0_conv1.diff_b"
    save_tensors(tmp_path / "y.safetensors", load_file(file) | {bias: torch.ones(16)})
    given, out = str(tmp_path / "y.safetensors"), str(tmp_path / "out.safetensors")
    assert main(["convert", given, out, "--base", micro_model.path]) == 1
    error = capsys.readouterr().err
    assert f"biases or norms too, in 1 tensor, and a LoRA weights alone ({bias})" in error
    # The command that leaves them out comes to what asks for the base, as its own does.
    assert run_printed(error, tmp_path / "first.safetensors", micro_model.path) == 1
    error = capsys.readouterr().err
    assert run_printed(error, tmp_path / "first.safetensors", micro_model.path) == 0
    capsys.readouterr()
    assert main(["inspect", given]) == 0
    told = capsys.readouterr().out
    assert f"beside      changes of biases or norms, in 1 tensor, which no LoRA holds ({bias})" in told
    assert f"convert {given} lora.safetensors --rank 32 --base BASE --weights-only" in told
    assert main(["convert", given, out, "--base", micro_model.path, "--weights-only"]) == 0
    assert f"left out: changes of biases or norms, in 1 tensor, which no LoRA holds ({bias})" in capsys.readouterr().out
    assert main(["convert", str(file), str(tmp_path / "plain.safetensors"), "--base", micro_model.path]) == 0
    assert (tmp_path / "plain.safetensors").read_bytes() == (tmp_path / "out.safetensors").read_bytes()


def test_another_base_is_refused_and_nothing_is_left(file, tmp_path, capsys, micro_model):
    before = sorted(tmp_path.iterdir())
    for arguments in (
        ["convert", str(file), str(tmp_path / "out.safetensors"), "--base", "models/tiny/sd"],
        ["merge", str(file), "--into", "models/tiny/sd", "--out", str(tmp_path / "out")],
    ):
        assert main(arguments) == 1
        assert "use the base model that" in capsys.readouterr().err
    assert main(["convert", micro_model.path, str(tmp_path / "out"), "--base", "models/tiny/sd"]) == 1
    assert "--base: is for LoRA files" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_weights_of_0_and_of_a_half(file, micro_model):
    from lorakiln.lora_files.reading import read_any

    family = load_family(micro_model)
    base = states(copy.deepcopy(family.adaptable()))
    merged = Merged(family.adaptable(), read_any(file).adapter)
    merged.set_weights(1.0)
    whole, changed = states(copy.deepcopy(family.adaptable())), predict(family.network)
    merged.set_weights(0.5)
    for name, value in states(family.adaptable()).items():
        torch.testing.assert_close(value, (base[name] + whole[name]) / 2, rtol=1e-5, atol=1e-6)
    merged.set_weights(0.0)
    assert all(torch.equal(value, base[name]) for name, value in states(family.adaptable()).items())
    assert not torch.allclose(predict(family.network), changed, atol=1e-2)
