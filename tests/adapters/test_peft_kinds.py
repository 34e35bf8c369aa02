"""What peft and diffusers write, of every kind that they have for these networks, against what they merge."""

import copy
import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from peft import (
    BOFTConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    get_peft_model,
    get_peft_model_state_dict,
)
from peft.tuners.boft import layer as boft

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.lora_files.identity import hash_lora
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_any, read_lora

SERIES = {"use_cayley_neumann": True, "peft_version": "0.18.0"}
TARGETS = ["to_q", "ff.net.2", "proj_in", "conv1"]  # linear layers, a 1x1 and a 3x3 convolution


class OnAnyDevice:
    """Block diagonals of (stages, n, b, b): peft has them for GPUs alone, and compiles that first."""

    @staticmethod
    def apply(blocks):
        return torch.stack([torch.block_diag(*stage) for stage in blocks])


@pytest.fixture(autouse=True)
def _butterflies(monkeypatch):
    monkeypatch.setattr(boft, "get_fbd_cuda", lambda: True)
    monkeypatch.setattr(boft, "FastBlockDiag", OnAnyDevice)


def save(network, config, folder):
    """What peft writes for `network` with a random adapter, and the weights of its targets when it has merged it."""
    torch.manual_seed(0)
    model = get_peft_model(copy.deepcopy(network), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                # Magnitudes and scales stay near what the base makes them.
                near = ("magnitude", "ia3_l", "boft_s")
                parameter.add_(torch.randn_like(parameter) * (0.1 if any(one in name for one in near) else 0.4))
    model.save_pretrained(folder)
    merged = model.merge_and_unload().state_dict()
    return {name: merged[f"{name}.weight"] for name in targets(network, config.target_modules)}


def targets(network, ends):
    return [name for name, _ in network.named_modules() if name.endswith(tuple(ends))]


def weight_of(network):
    return lambda module: network.get_submodule(module.removeprefix("unet.")).weight.detach()


def check(network, config, folder, kinds):
    """The LoRA that is read changes every weight as peft does, and so do the layers that are put on the network."""
    expected = save(network, config, folder)
    found = read_lora(folder, weight=weight_of(network))
    assert found.form == "peft" and set(found.kinds.values()) == kinds
    assert set(found.adapter.layers) == {f"unet.{name}" for name in expected} and not found.adapter.relative
    bare = copy.deepcopy(network)
    Merged({"unet": bare}, read_any(folder).adapter).set_weights(1.0)
    for name, weight in expected.items():
        base = weight_of(network)(name)
        change = weight - base
        assert change.norm() > 0.01 * base.norm()
        for got in (found.adapter.layers[f"unet.{name}"].change_of(base), weight_of(bare)(name) - base):
            assert (got - change).norm() < 2e-5 * change.norm(), name


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        (LoHaConfig(r=3, alpha=5, alpha_pattern={"to_q": 2}, rank_pattern={"to_q": 2}), {"LoHa"}),
        (LoHaConfig(r=2, alpha=5, use_effective_conv2d=True), {"LoHa"}),
        (LoKrConfig(r=2, alpha=5, decompose_both=True), {"LoKr"}),
        (LoKrConfig(r=2, alpha=5, use_effective_conv2d=True), {"LoKr"}),
        # Both factors whole: there peft scales too, and LyCORIS does not.
        (LoKrConfig(r=64, alpha=5, rank_pattern={"conv1": 32}, alpha_pattern={"to_q": 7}), {"LoKr"}),
        (LoraConfig(r=3, lora_alpha=5, use_dora=True, rank_pattern={"to_q": 2}), {"DoRA"}),
        (LoraConfig(r=3, lora_alpha=5, use_dora=True, use_rslora=True), {"DoRA"}),
        (OFTConfig(oft_block_size=8, use_cayley_neumann=False), {"OFT"}),
        (OFTConfig(oft_block_size=8, use_cayley_neumann=False, block_share=True), {"OFT"}),
        (OFTConfig(oft_block_size=8, use_cayley_neumann=False, coft=True, eps=0.5), {"OFT"}),
        *((OFTConfig(oft_block_size=4, num_cayley_neumann_terms=terms), {"OFT"}) for terms in (2, 3, 4, 5, 6)),
        (BOFTConfig(boft_block_size=4), {"BOFT"}),
    ],
)
def test_a_layer_does_what_peft_merges(tmp_path, micro_family, config, kinds):
    # What peft's OFT does to a 3x3 convolution is no change of its weights.
    config.target_modules = [name for name in TARGETS if name != "conv1" or kinds != {"OFT"}]
    check(micro_family.network, config, tmp_path / "peft", kinds)


def test_pefts_oft_on_larger_convolutions_is_refused(tmp_path, micro_family):
    config = OFTConfig(oft_block_size=8, use_cayley_neumann=False, target_modules=["conv1"])
    save(micro_family.network, config, tmp_path / "peft")
    with pytest.raises(UserError, match="convolutions larger than 1x1 as no change of their weights"):
        read_lora(tmp_path / "peft", weight=weight_of(micro_family.network))


def test_a_series_of_before_peft_0_18_is_refused(tmp_path, micro_family):
    config = OFTConfig(oft_block_size=8, use_cayley_neumann=True, target_modules=["to_q"])
    save(micro_family.network, config, tmp_path / "peft")
    beside = tmp_path / "peft" / "adapter_config.json"
    settings = json.loads(beside.read_text())
    del settings["peft_version"]
    beside.write_text(json.dumps(settings))
    with pytest.raises(UserError, match="as peft before 0.18 took it"):
        read_any(tmp_path / "peft")


def test_a_lora_is_its_weights_and_its_config(tmp_path, micro_family):
    config = LoHaConfig(r=3, alpha=5, target_modules=TARGETS)
    save(micro_family.network, config, tmp_path / "peft")
    (file,) = (tmp_path / "peft").glob("*.safetensors")
    before = hash_lora(file)
    assert hash_lora(tmp_path / "peft") == before
    beside = tmp_path / "peft" / "adapter_config.json"
    beside.write_text(beside.read_text().replace('"alpha": 5', '"alpha": 6'))
    assert hash_lora(file) != before
    beside.unlink()
    assert hash_lora(file) == hash_file(file)


@pytest.mark.parametrize("factors", [2, 3])
def test_butterflies_of_several_factors(tmp_path, micro_family, factors):
    config = BOFTConfig(boft_block_size=4, boft_n_butterfly_factor=factors, target_modules=TARGETS)
    check(micro_family.network, config, tmp_path / "peft", {"BOFT"})


def test_ia3_of_inputs_and_of_outputs_without_a_bias(tmp_path, micro_family):
    feedforward = ["ff.net.2", "proj_in", "conv1"]
    config = IA3Config(target_modules=TARGETS, feedforward_modules=feedforward)
    check(micro_family.network, config, tmp_path / "peft", {"IA3"})
    # Of outputs that have a bias peft changes the bias too.
    config = IA3Config(target_modules=TARGETS, feedforward_modules=feedforward[:2])
    save(micro_family.network, config, tmp_path / "biased")
    assert set(read_any(tmp_path / "biased").kinds.values()) == {"IA3"}
    with pytest.raises(UserError, match="conv1: .*it multiplies the layer's bias too"):
        read_lora(tmp_path / "biased", weight=weight_of(micro_family.network))


@pytest.mark.parametrize("form", ["lora_magnitude_vector", "lora_magnitude_vector.weight", "dora_scale"])
def test_dora_in_diffusers_names(tmp_path, micro_family, form):
    config = LoraConfig(r=3, lora_alpha=3, use_dora=True, target_modules=TARGETS)
    expected = save(micro_family.network, config, tmp_path / "peft")
    tensors, _ = load_tensors(tmp_path / "peft/adapter_model.safetensors")
    renamed = {
        key.replace("base_model.model.", "unet.").replace("lora_magnitude_vector", form): value
        for key, value in tensors.items()
    }
    if form == "dora_scale":  # (out, 1) or (out, 1, 1, 1)
        ranks = {key.removesuffix(".lora_A.weight"): one.ndim for key, one in renamed.items() if "lora_A" in key}
        renamed = {
            key: value.reshape(-1, *[1] * (ranks[key.removesuffix(".dora_scale")] - 1)) if "dora" in key else value
            for key, value in renamed.items()
        }
    save_tensors(tmp_path / "x.safetensors", renamed)
    found = read_lora(tmp_path / "x.safetensors", weight=weight_of(micro_family.network))
    assert found.form == "diffusers"
    for name, weight in expected.items():
        base = weight_of(micro_family.network)(name)
        got = found.adapter.layers[f"unet.{name}"].change_of(base)
        assert (got - (weight - base)).norm() < 1e-4 * (weight - base).norm()


@pytest.mark.parametrize("dora", [False, True])
def test_files_as_diffusers_writes_them(tmp_path, micro_model, dora):
    """Of a pipeline, of a network by itself, and by diffusers' converter to kohya's names."""
    config = LoraConfig(r=3, lora_alpha=6, use_dora=dora, target_modules=TARGETS)
    unet = load_family(micro_model, ("network",)).network
    weight = {f"unet.{name}": unet.get_submodule(name).weight.detach().clone() for name in targets(unet, TARGETS)}
    unet.add_adapter(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    unet.save_lora_adapter(tmp_path / "network")
    metadata = {"unet_lora_adapter_metadata": config.to_dict()}
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(tmp_path / "pipeline", state, **metadata)
    # The converter writes alpha = rank, whatever it is.
    given = {f"unet.{key}": value for key, value in get_peft_model_state_dict(unet).items()}
    doubled = {key: value * 2 if "lora_B" in key else value for key, value in given.items()}
    save_tensors(tmp_path / "kohya.safetensors", convert_state_dict_to_kohya(doubled))
    unet.fuse_lora()
    for path, form in (("network", "diffusers"), ("pipeline", "diffusers"), ("kohya.safetensors", "kohya")):
        found = read_lora(tmp_path / path, weight=weight.get)
        assert found.form == form and set(found.kinds.values()) == ({"DoRA"} if dora else set())
        assert set(found.adapter.layers) == set(weight)
        for name, base in weight.items():
            change = unet.get_submodule(name.removeprefix("unet.")).base_layer.weight.detach() - base
            assert (found.adapter.layers[name].change_of(base) - change).norm() < 1e-4 * change.norm(), (path, name)


@pytest.mark.parametrize(
    ("config", "tensors", "said"),
    [
        ({}, {"oft_R.weight": torch.randn(2, 5)}, "no triangle"),
        ({**SERIES, "num_cayley_neumann_terms": 10**9}, {"oft_R.weight": torch.randn(2, 6)}, "terms"),
        ({"coft": True, "eps": "much"}, {"oft_R.weight": torch.randn(2, 6)}, 'eps is "much", no number'),
        ({}, {"oft_R.weight": torch.full((2, 6), float("nan"))}, "not finite"),
        ({}, {"boft_R": torch.randn(1, 2, 4, 3)}, "4x3"),
        ({}, {"boft_R": torch.randn(2, 4, 4)}, "2x4x4"),
        ({"feedforward_modules": "(a+)+"}, {"ia3_l": torch.randn(1, 8)}, "feedforward_modules are no list"),
        ({"r": 0}, {"lokr_w1": torch.randn(2, 2), "lokr_w2": torch.randn(4, 4)}, "its rank is 0"),
        ({"alpha": None}, {"lokr_w1": torch.randn(2, 2), "lokr_w2": torch.randn(4, 4)}, "alpha is null"),
    ],
)
def test_what_is_no_such_layer_gets_one_line(tmp_path, config, tensors, said):
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    name = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    save_tensors(tmp_path / "x.safetensors", {f"{name}.{ending}": tensor for ending, tensor in tensors.items()})
    with pytest.raises(UserError, match=said):
        read_any(tmp_path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"oft_R.weight": torch.randn(3, 6)},
        {"oft_R.weight": torch.randn(1, 6)},
        {"boft_R": torch.randn(1, 2, 3, 3)},
        {"boft_R": torch.randn(2, 8, 1, 1)},
        {"boft_R": torch.randn(9, 2, 4, 4)},
        {"boft_R": torch.randn(1, 2, 4, 4), "boft_s": torch.randn(7, 1)},
        {"ia3_l": torch.randn(1, 7)},
        {
            "lora_A.weight": torch.randn(2, 8),
            "lora_B.weight": torch.randn(9, 2),
            "lora_magnitude_vector": torch.ones(9),
        },
        {
            "lora_A.weight": torch.randn(2, 8),
            "lora_B.weight": torch.randn(8, 2),
            "lora_magnitude_vector": torch.ones(7),
        },
        # Of no length, and so of no direction.
        {"lora_A.weight": torch.eye(8), "lora_B.weight": -torch.eye(8), "lora_magnitude_vector": torch.ones(8)},
    ],
)
def test_what_does_not_fit_the_base_gets_one_line(tmp_path, tensors):
    name = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    save_tensors(tmp_path / "x.safetensors", {f"{name}.{ending}": tensor for ending, tensor in tensors.items()})
    with pytest.raises(UserError, match="a weight of 8x8|not finite") as caught:
        read_lora(tmp_path, weight=lambda module: torch.eye(8))
    assert name in str(caught.value) and str(caught.value).count("\n") == 1
