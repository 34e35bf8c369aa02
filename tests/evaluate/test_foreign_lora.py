"""A LoRA file from elsewhere as the folder that `evaluate` reads."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, OFTConfig, get_peft_model

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.evaluate.drawing import load_adapter
from lorakiln.evaluate.foreign_lora import import_lora
from lorakiln.families import load_family

SPACES = ("prepare", "encode")


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

    write_json(tmp_path / "captioned/dataset.json", {"name": "x", "hash": "d" * 16, "pictures": 1})
    empty = SimpleNamespace(model_dump=lambda mode: {})
    config = SimpleNamespace(
        model=micro_model,
        caption=SimpleNamespace(trigger="cat", model_dump=lambda mode: {}),
        **dict.fromkeys(SPACES, empty),
    )
    file = tmp_path / "given/adapter_model.safetensors"
    import_lora(file, tmp_path / "captioned", tmp_path / "lora", config)
    facts = read_json(tmp_path / "lora/facts.json")
    assert facts["rank"] == rank and facts["file"] == file.name and facts["trigger"] == "cat"
    bare = load_family(micro_model)
    load_adapter(bare, tmp_path / "lora" / facts["file"]).set_weights(1.0)
    for name in names:
        weight = bare.network.get_submodule(name).weight
        torch.testing.assert_close(weight, expected[f"{name}.weight"], rtol=1e-4, atol=1e-5)
