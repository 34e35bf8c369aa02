"""Every form of LoRA file that is about, made here key by key from its description, and what is refused by name."""

import json

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.lora_files.base_model import find_base_version
from lorakiln.lora_files.reading import read_lora
from lorakiln.lora_files.writing import write_lora

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
TEXT = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"


def mixed(seed=0):
    """Linear layers, a 1x1 and a 3x3 convolution, a text encoder; ranks differ, no alpha is its rank."""
    generator = torch.Generator().manual_seed(seed)

    def layer(rank, alpha, out, *into):
        down = torch.randn(rank, *into, generator=generator)
        return Layer(down, torch.randn(out, rank, *[1] * (len(into) - 1), generator=generator), alpha)

    return Adapter(
        {
            f"unet.{ATTENTION}.to_q": layer(4, 2.0, 8, 8),
            f"unet.{ATTENTION}.to_out.0": layer(2, 1.0, 8, 8),
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": layer(3, 6.0, 8, 768),
            "unet.down_blocks.0.attentions.0.proj_in": layer(4, 3.0, 8, 8, 1, 1),
            "unet.down_blocks.0.resnets.0.conv1": layer(4, 8.0, 8, 8, 3, 3),
            TEXT: layer(2, 4.0, 16, 16),
        }
    )


def assert_equal(found, expected):
    assert set(found.layers) == set(expected.layers)
    for name, layer in expected.layers.items():
        assert torch.equal(found.layers[name].down, layer.down), name
        assert torch.equal(found.layers[name].up, layer.up), name
        assert found.layers[name].alpha == layer.alpha, name


def test_kohya_to_peft_and_back_loses_nothing(tmp_path):
    adapter = Adapter({name: layer for name, layer in mixed().layers.items() if name.startswith("unet.")})
    write_lora(adapter, tmp_path / "a.safetensors", "kohya")
    first = read_lora(tmp_path / "a.safetensors")
    write_lora(first.adapter, tmp_path / "b", "peft")
    second = read_lora(tmp_path / "b")
    write_lora(second.adapter, tmp_path / "c.safetensors", "kohya")
    third = read_lora(tmp_path / "c.safetensors")
    assert (first.form, second.form, third.form) == ("kohya", "peft", "kohya")
    for found in (first, second, third):
        assert_equal(found.adapter, adapter)
    a, c = (load_tensors(tmp_path / name)[0] for name in ("a.safetensors", "c.safetensors"))
    assert set(a) == set(c) and all(torch.equal(a[key], c[key]) for key in a)


def test_kohya_to_diffusers_and_back_changes_every_weight_by_the_same(tmp_path):
    adapter = mixed()
    write_lora(adapter, tmp_path / "b.safetensors", "diffusers")
    second = read_lora(tmp_path / "b.safetensors")
    write_lora(second.adapter, tmp_path / "c.safetensors", "kohya")
    third = read_lora(tmp_path / "c.safetensors")
    assert (second.form, third.form) == ("diffusers", "kohya")
    assert_equal(third.adapter, second.adapter)
    assert set(second.adapter.layers) == set(adapter.layers)
    for name, layer in adapter.layers.items():
        torch.testing.assert_close(third.adapter.layers[name].delta(), layer.delta())


def test_sdxl_is_written_in_sgm_names_with_te1_and_te2(tmp_path):
    one = Layer(torch.ones(2, 2048), torch.ones(8, 2), 1.0)
    two = Layer(torch.ones(2, 16), torch.ones(16, 2), 1.0)
    names = {
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": one,
        TEXT: two,
        TEXT.replace("encoder.t", "encoder_2.t"): two,
    }
    write_lora(Adapter(names), tmp_path / "x.safetensors", "kohya")
    keys = {key.split(".")[0] for key in load_tensors(tmp_path / "x.safetensors")[0]}
    assert keys == {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te2_text_model_encoder_layers_0_self_attn_q_proj",
    }
    found = read_lora(tmp_path / "x.safetensors").adapter
    assert set(found.layers) == set(names)
    assert find_base_version(found) == "sdxl"


def test_a_peft_folder_with_its_config_beside_it(tmp_path):
    adapter = Adapter({name: layer for name, layer in mixed().layers.items() if name.startswith("unet.")})
    write_lora(adapter, tmp_path / "peft", "peft")
    found = read_lora(tmp_path / "peft")
    assert found.form == "peft"
    assert_equal(found.adapter, adapter)
    with pytest.raises(UserError, match="one network"):
        write_lora(mixed(), tmp_path / "other", "peft")


@pytest.mark.parametrize("prefix", ["", "unet."])
def test_diffusers_attention_processors_of_2023(tmp_path, prefix):
    names = {"to_q": "to_q", "to_out": "to_out.0"}
    tensors = {}
    for number, name in enumerate(names):
        tensors[f"{prefix}{ATTENTION}.processor.{name}_lora.down.weight"] = torch.full((2, 8), 1.0 + number)
        tensors[f"{prefix}{ATTENTION}.processor.{name}_lora.up.weight"] = torch.full((8, 2), 3.0)
    save_tensors(tmp_path / "x.safetensors", tensors)
    found = read_lora(tmp_path / "x.safetensors")
    assert found.form == "diffusers-old"
    assert set(found.adapter.layers) == {f"unet.{ATTENTION}.{name}" for name in names.values()}
    assert found.adapter.layers[f"unet.{ATTENTION}.to_out.0"].down[0, 0] == 2.0
    assert {layer.alpha for layer in found.adapter.layers.values()} == {2.0}


def test_diffusers_lora_down_and_its_text_encoder(tmp_path):
    tensors = {
        f"unet.{ATTENTION}.to_q.lora.down.weight": torch.ones(2, 8),
        f"unet.{ATTENTION}.to_q.lora.up.weight": torch.ones(8, 2),
        f"{TEXT}.lora_linear_layer.down.weight": torch.ones(2, 16),
        f"{TEXT}.lora_linear_layer.up.weight": torch.ones(16, 2),
    }
    save_tensors(tmp_path / "x.safetensors", tensors)
    found = read_lora(tmp_path / "x.safetensors")
    assert found.form == "diffusers"
    assert set(found.adapter.layers) == {f"unet.{ATTENTION}.to_q", TEXT}


def test_diffusers_itself_reads_the_text_encoders_layers(tmp_path, family):
    # Both kinds of layer, as kohya trains them: of feed-forward layers alone diffusers 0.42 cannot tell the form.
    endings = ("layers.0.self_attn.q_proj", "layers.0.mlp.fc1")
    modules = {end: next(m for n, m in family.text_encoder.named_modules() if n.endswith(end)) for end in endings}
    layers, expected = {}, {}
    for end, module in modules.items():
        out, into = module.weight.shape
        layer = Layer(torch.randn(2, into), torch.randn(out, 2), 1.0)
        layers[f"text_encoder.text_model.encoder.{end}"] = layer
        expected[end] = module.weight + layer.delta()
    # Of kohya's names diffusers 0.42 drops the text encoder's attention under transformers 5: its own form is whole.
    write_lora(Adapter(layers), tmp_path / "x.safetensors", "diffusers")
    pipe = family.pipeline()
    pipe.load_lora_weights(tmp_path, weight_name="x.safetensors")
    pipe.fuse_lora(components=["text_encoder"])
    for end in endings:
        adapted = next(m for n, m in pipe.text_encoder.named_modules() if n.endswith(end))
        torch.testing.assert_close(adapted.base_layer.weight, expected[end], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("lora_unet_x.oft_diag", "OFT of an early LyCORIS or peft"),
        ("base_model.model.x.oft_r", "OFT of an early LyCORIS or peft"),
        ("lora_unet_x.a1.weight", "GLoRA"),
        ("lycoris_x.lambda_layer", "T-LoRA"),
        ("lora_unet_x.w_norm", "it changes biases or norms too"),
        ("emb_params", "textual inversion"),
        ("model.diffusion_model.input_blocks.0.0.weight", "no LoRA file"),
        (
            "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
            "1 of its 1 tensors belong to no layer",
        ),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path, key, said):
    save_tensors(tmp_path / "x.safetensors", {key: torch.ones(2, 2)})
    with pytest.raises(UserError, match=said):
        read_lora(tmp_path / "x.safetensors")


FLUX = "transformer.single_transformer_blocks.0.attn.to_q"


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (FLUX, "for Flux"),
        (FLUX.removeprefix("transformer."), "for Flux"),
        ("lora_unet_double_blocks_0_img_attn_qkv", "for Flux"),
        ("transformer.transformer_blocks.0.attn.add_q_proj", "for Stable Diffusion 3"),
        ("transformer.transformer_blocks.0.attn.to_q", "for a diffusion transformer"),
        ("diffusion_model.blocks.0.self_attn.q", "for a diffusion transformer .Wan"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "for Stable Diffusion 3"),
        ("unet.down_blocks.0.motion_modules.0.temporal_transformer.proj_in", "for a network that draws videos"),
        ("base_model.model.model.layers.0.self_attn.q_proj", "for a language model"),
        ("unet.foo.bar.attn2.to_k", "for another architecture"),
        ("lora_unet_foo_bar", "for another architecture"),
        ("lora_unet_to_q", "for another architecture"),
    ],
)
def test_loras_of_other_architectures_are_refused_by_name(tmp_path, layer, said):
    ends = ("lora_down", "lora_up") if layer.startswith("lora_") else ("lora_A", "lora_B")
    # A layer that fits is no excuse for those that do not.
    fits = f"lora_unet_{ATTENTION.replace('.', '_')}_to_q" if layer.startswith("lora_") else f"unet.{ATTENTION}.to_q"
    tensors = {}
    for name in (layer, fits):
        tensors |= {f"{name}.{ends[0]}.weight": torch.ones(2, 8), f"{name}.{ends[1]}.weight": torch.ones(8, 2)}
    save_tensors(tmp_path / "x.safetensors", tensors)
    with pytest.raises(UserError, match=f"this is a LoRA {said}.*: 1 of its layers") as caught:
        read_lora(tmp_path / "x.safetensors")
    assert layer in str(caught.value)


def test_one_layer_under_two_names_is_refused_with_both(tmp_path):
    one = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    two = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {}
    for rank, name in ((4, one), (2, two)):
        tensors |= {f"{name}.lora_down.weight": torch.ones(rank, 2048), f"{name}.lora_up.weight": torch.ones(8, rank)}
    save_tensors(tmp_path / "x.safetensors", tensors)
    with pytest.raises(UserError, match=f"under two names, {two}.*and {one}"):
        read_lora(tmp_path / "x.safetensors")


def test_pickles_and_what_is_not_there_are_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match="pickle"):
        read_lora(tmp_path / "a.pt")
    with pytest.raises(UserError, match="no such file"):
        read_lora(tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=r"0 \.safetensors"):
        read_lora(tmp_path)
    for name in ("x.ckpt", "x.pt"):
        with pytest.raises(UserError, match="none are written"):
            write_lora(mixed(), tmp_path / name, "kohya")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt"]


def test_a_config_that_is_no_json_is_said_so(tmp_path):
    write_lora(mixed(), tmp_path / "x.safetensors", "diffusers")
    tensors, metadata = load_tensors(tmp_path / "x.safetensors")
    for text in ("{", json.dumps([1]), "[" * 100_000):
        save_tensors(tmp_path / "y.safetensors", tensors, {**metadata, "lora_adapter_metadata": text})
        with pytest.raises(UserError, match="JSON"):
            read_lora(tmp_path / "y.safetensors")


def test_damaged_files_get_one_line_whatever_is_damaged(tmp_path):
    write_lora(mixed(), tmp_path / "x.safetensors", "kohya")
    whole = (tmp_path / "x.safetensors").read_bytes()
    header = int.from_bytes(whole[:8], "little")
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(0, 8 + header, (150,), generator=generator).tolist()
    variants = [whole[:cut] for cut in (0, 4, 8, 100, 8 + header, len(whole) - 1)]
    variants += [whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :] for at in places]
    variants += [(2**62).to_bytes(8, "little") + whole[8:], (10**8).to_bytes(8, "little") + whole[8:]]
    for number, content in enumerate(variants):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        try:
            read_lora(path)
        except UserError as error:
            assert str(error).count("\n") <= 1
        path.unlink()
