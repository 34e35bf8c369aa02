"""A LoRA file from elsewhere as the folder that `evaluate` reads."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, OFTConfig, get_peft_model

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.evaluate.foreign_lora import import_lora
from lorakiln.evaluate.painter import load_adapter
from lorakiln.families import load_family

SPACES = ("prepare", "encode")


def test_a_textual_inversion_is_a_file_to_evaluate(tmp_path, micro_model):
    vectors = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    save_tensors(tmp_path / "mydog.safetensors", {"emb_params": vectors})
    facts = import_file(tmp_path / "mydog.safetensors", tmp_path, micro_model)
    assert facts["rank"] is None and facts["alpha"] is None and facts["file"] == "mydog.safetensors"
    family = load_family(micro_model)
    before = family.encode_prompts(["a mydog"])["prompt_embeds"]
    applied = load_adapter(family, tmp_path / "lora" / facts["file"])
    applied.set_weights(1.0)
    with_word = family.encode_prompts(["a mydog"])["prompt_embeds"]
    family.know_words({"mydog": {"text_encoder": vectors}})
    assert torch.equal(with_word, family.encode_prompts(["a mydog"])["prompt_embeds"])
    assert not torch.equal(with_word, before)
    applied.set_weights(0.0)
    assert torch.equal(family.encode_prompts(["a mydog"])["prompt_embeds"], before)


def import_file(file, folder, model):
    write_json(folder / "captioned/dataset.json", {"name": "x", "hash": "d" * 16, "pictures": 1})
    empty = SimpleNamespace(model_dump=lambda mode: {})
    caption = SimpleNamespace(trigger="cat", model_dump=lambda mode: {})
    config = SimpleNamespace(model=model, caption=caption, **dict.fromkeys(SPACES, empty))
    import_lora(file, folder / "captioned", folder / "lora", config)
    return read_json(folder / "lora/facts.json")


@pytest.mark.parametrize(
    ("adapter", "rank"),
    [
        (LoraConfig(r=2, lora_alpha=6, use_dora=True, target_modules=["to_q"]), 2),
        (OFTConfig(oft_block_size=4, target_modules=["to_q"]), None),
    ],
)
def test_a_file_of_pefts_is_put_on_as_its_config_means_it(tmp_path, micro_model, adapter, rank):
    family = load_family(micro_model, ("network",))
    names = [name for name, _ in family.network.named_modules() if name.endswith("to_q")]
    torch.manual_seed(0)
    model = get_peft_model(family.network, adapter)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(tmp_path / "given")
    expected = model.merge_and_unload().state_dict()

    file = tmp_path / "given/adapter_model.safetensors"
    facts = import_file(file, tmp_path, micro_model)
    assert facts["rank"] == rank and facts["file"] == file.name and facts["trigger"] == "cat"
    bare = load_family(micro_model)
    load_adapter(bare, tmp_path / "lora" / facts["file"]).set_weights(1.0)
    for name in names:
        weight = bare.network.get_submodule(name).weight
        torch.testing.assert_close(weight, expected[f"{name}.weight"], rtol=1e-4, atol=1e-5)
