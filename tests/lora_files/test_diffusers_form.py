import json

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.lora_files import diffusers_form
from tests.lora_files.conftest import ALPHAS, RANKS, predict, predict_merged, random_adapter

NAME = "pytorch_lora_weights.safetensors"


def test_keys_shapes_and_the_config_that_diffusers_reads(tmp_path, adapter):
    diffusers_form.save(adapter, tmp_path / NAME)
    tensors, metadata = load_tensors(tmp_path / NAME)
    assert set(tensors) == {f"{name}.lora_{side}.weight" for name in adapter.layers for side in "AB"}
    assert tensors["unet.mid_block.attentions.0.proj_in.lora_A.weight"].shape == (4, 32, 1, 1)
    assert tensors["unet.mid_block.attentions.0.proj_in.lora_B.weight"].shape == (32, 4, 1, 1)
    config = json.loads(metadata["lora_adapter_metadata"])
    assert (config["unet.r"], config["unet.lora_alpha"], config["unet.rank_pattern"]) == (4, 2.0, {})
    assert config["unet.target_modules"] == sorted(name.removeprefix("unet.") for name in adapter.layers)


@pytest.mark.parametrize(("ranks", "alphas"), [((4,), (2.0,)), (RANKS, ALPHAS)])
def test_diffusers_predicts_with_the_file_the_adapter_does(tmp_path, family, ranks, alphas):
    adapter = random_adapter(family, ranks, alphas)
    expected = predict_merged(family, adapter)
    base = predict(family.network)
    diffusers_form.save(adapter, tmp_path / NAME)
    pipe = family.pipeline()
    pipe.load_lora_weights(tmp_path, weight_name=NAME)
    by_diffusers = predict(pipe.unet)
    torch.testing.assert_close(by_diffusers, expected, rtol=1e-4, atol=1e-4)
    # As it would be with alpha = rank, were alpha lost.
    assert not torch.allclose(by_diffusers, base, atol=1e-2)


def test_a_text_encoders_layers_go_along_and_diffusers_puts_them_on(tmp_path, family):
    generator = torch.Generator().manual_seed(0)
    names = [name for name, _ in family.text_encoder.named_modules() if name.endswith(("q_proj", "v_proj"))]
    assert names
    layers = {
        f"text_encoder.{name}": Layer(
            torch.randn(3, 24, generator=generator), torch.randn(24, 3, generator=generator), 1.5
        )
        for name in names
    }
    both = Adapter({**random_adapter(family).layers, **layers})
    before = family.encode_prompts(["a red cat"])["prompt_embeds"]
    with torch.no_grad():
        for name in names:
            family.text_encoder.get_submodule(name).weight += layers[f"text_encoder.{name}"].delta()
        expected = family.encode_prompts(["a red cat"])["prompt_embeds"]
        for name in names:
            family.text_encoder.get_submodule(name).weight -= layers[f"text_encoder.{name}"].delta()
    diffusers_form.save(both, tmp_path / NAME)
    family.pipeline().load_lora_weights(tmp_path, weight_name=NAME)
    found = family.encode_prompts(["a red cat"])["prompt_embeds"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, before, atol=1e-2)
    assert set(diffusers_form.load(tmp_path / NAME).layers) == set(both.layers)


def test_what_is_saved_is_loaded_exactly_and_equal_adapters_are_equal_bytes(tmp_path, micro_family):
    adapter = random_adapter(micro_family, RANKS, ALPHAS)
    diffusers_form.save(Adapter(adapter.layers, {"step": "3"}), tmp_path / "a.safetensors")
    turned = Adapter(dict(reversed(adapter.layers.items())), {"step": "3"})
    diffusers_form.save(turned, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    found = diffusers_form.load(tmp_path / "a.safetensors")
    assert found.metadata == {"step": "3"}
    assert set(found.layers) == set(adapter.layers)
    for name, layer in adapter.layers.items():
        assert torch.equal(found.layers[name].down, layer.down)
        assert torch.equal(found.layers[name].up, layer.up)
        assert found.layers[name].alpha == layer.alpha


def write_one(path, config=None, down=None):
    down = torch.ones(4, 6) if down is None else down
    tensors = {"unet.a.to_q.lora_A.weight": down, "unet.a.to_q.lora_B.weight": torch.ones(5, 4)}
    save_tensors(path, tensors, None if config is None else {"lora_adapter_metadata": config})


def test_alpha_as_others_write_it(tmp_path):
    def alpha(config):
        write_one(tmp_path / NAME, config)
        return diffusers_form.load(tmp_path / NAME).layers["unet.a.to_q"].alpha

    assert alpha(None) == 4.0
    assert alpha('{"unet.lora_alpha": 8}') == 8.0
    assert alpha('{"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 3}}') == 3.0
    assert alpha('{"unet.lora_alpha": 8, "unet.alpha_pattern": {"o_q": 3}}') == 8.0
    # Rank-stabilised: alpha / sqrt(rank) = 8 / 2 is what alpha' / rank must be.
    assert alpha('{"unet.lora_alpha": 8, "unet.use_rslora": true}') == 16.0


def test_damaged_files_are_refused(tmp_path):
    write_one(tmp_path / NAME, down=torch.full((4, 6), float("nan")))
    with pytest.raises(UserError, match="not finite"):
        diffusers_form.load(tmp_path / NAME)
    write_one(tmp_path / NAME, config="{")
    with pytest.raises(UserError, match="not JSON"):
        diffusers_form.load(tmp_path / NAME)
    write_one(tmp_path / NAME, down=torch.ones(3, 6))
    with pytest.raises(UserError, match="no low-rank update"):
        diffusers_form.load(tmp_path / NAME)
    save_tensors(tmp_path / NAME, {"unet.a.lora_A.weight": torch.ones(2, 2)})
    with pytest.raises(UserError, match="unet.a.lora_A.weight"):
        diffusers_form.load(tmp_path / NAME)


def test_numbers_that_are_not_finite_are_not_written(tmp_path):
    adapter = Adapter({"unet.a": Layer(torch.full((1, 2), float("inf")), torch.ones(2, 1), 1.0)})
    with pytest.raises(UserError, match="unet.a: it holds numbers that are not finite"):
        diffusers_form.save(adapter, tmp_path / NAME)
