"""Changes of biases and norms: refused, or left out where that is asked for."""

import pytest
import torch

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.lora_files.reading import read_any, read_lora

BLOCK = "lora_unet_down_blocks_0_attentions_0"
QUERY = f"{BLOCK}_transformer_blocks_0_attn1_to_q"
LAYER = {f"{QUERY}.diff": torch.arange(12.0).reshape(3, 4)}
CHANGES = {
    f"{QUERY}.diff_b": torch.ones(3),
    f"{BLOCK}_norm.w_norm": torch.tensor([0.0, 0.5]),
    f"{BLOCK}_norm.b_norm": torch.tensor([-1.0, 0.0]).half(),
    f"{BLOCK}_transformer_blocks_0_norm1.diff": torch.full((4,), float("nan")),
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_is_refused_by_its_name_and_with_the_way_round_it(tmp_path, key):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {**LAYER, key: CHANGES[key]})
    for read in (read_lora, read_any):
        with pytest.raises(UserError, match=f"it changes biases or norms too.*{key}") as caught:
            read(path)
        assert f"lorakiln convert {path} lora.safetensors --weights-only` leaves them out" in caught.value.fix


def test_what_is_left_out_is_listed_and_the_weights_change_as_they_did(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {**LAYER, **CHANGES})
    found = read_lora(tmp_path / "x.safetensors", weights_only=True)
    assert found.left_out == sorted(CHANGES)
    (layer,) = found.adapter.layers.values()
    assert torch.equal(layer.delta(), LAYER[f"{QUERY}.diff"])


def test_the_way_round_a_missing_base_keeps_to_leaving_out(tmp_path):
    dora = {"lora_up.weight": torch.rand(2, 1), "lora_down.weight": torch.rand(1, 2), "dora_scale": torch.ones(2, 1)}
    save_tensors(tmp_path / "x.safetensors", {f"{QUERY}.{end}": one for end, one in dora.items()} | CHANGES)
    with pytest.raises(UserError, match="it takes the base model's weights") as caught:
        read_lora(tmp_path / "x.safetensors", weights_only=True)
    assert "lora.safetensors --base BASE --weights-only" in caught.value.fix


def test_zeros_are_no_change(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {**LAYER, **{key: torch.zeros_like(one) for key, one in CHANGES.items()}})
    assert read_lora(tmp_path / "x.safetensors").left_out == []


def test_a_file_of_nothing_else_is_no_lora(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {f"{BLOCK}_norm.w_norm": torch.ones(2)})
    with pytest.raises(UserError, match="no layer of a LoRA"):
        read_lora(tmp_path / "x.safetensors", weights_only=True)
