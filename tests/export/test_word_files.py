"""Trained words in the exported folder: files of their own, the bundle in the LoRA's file, the card."""

from dataclasses import replace

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Embedding
from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.evaluate.painter import load_adapter
from lorakiln.families import load_family
from lorakiln.lora_files import diffusers_form
from lorakiln.lora_files.embeddings import read_embeddings
from lorakiln.lora_files.reading import read_any
from tests.export.conftest import files, trained

VECTORS = torch.randn(2, 24, generator=torch.Generator().manual_seed(1))
WORDS = {"<sks>": Embedding("<sks>", {"text_encoder": VECTORS})}


@pytest.fixture
def run_of_words(run, facts, micro_family):
    """Let the run have trained a word, with the LoRA or alone."""

    def change(alone):
        train = facts["settings"]["train"] | {"tokens": {"<sks>": {"init": "cat", "vectors": 2}}}
        settings = facts["settings"] | {"train": train | ({"parts": []} if alone else {})}
        write_json(run / "facts.json", facts | {"tokens": {"<sks>": 2}, "settings": settings})
        for one in facts["adapters"]:
            adapter = Adapter({}) if alone else trained(micro_family, one["step"])
            diffusers_form.save(replace(adapter, embeddings=WORDS), run / one["file"])

    return change


@pytest.mark.parametrize(
    ("where", "inside", "beside"), [("both", True, True), ("file", False, True), ("bundle", True, False)]
)
def test_words_beside_a_lora_are_where_they_are_to_be(do, run_of_words, micro_model, where, inside, beside):
    run_of_words(alone=False)
    out = do(name="cats", embeddings=where, which="all")
    facts = read_json(out / "facts.json")
    assert facts["file"] == "cats.safetensors" and facts["tokens"] == {"<sks>": 2} and facts["rank"] == 4
    assert facts["embeddings"] == (["embeddings/sks.safetensors"] if beside else [])
    assert ("embeddings/sks-step00000010.safetensors" in files(out)) == beside
    found = read_any(out / "cats.safetensors").adapter
    assert bool(found.embeddings) == inside and facts["checked"]["layers"] == len(found.layers)
    other = read_any(out / "cats-step00000010.safetensors").adapter.embeddings
    assert bool(other) == inside
    assert not read_any(out / "diffusers/pytorch_lora_weights.safetensors").adapter.embeddings
    if beside:
        own = read_embeddings(out / "embeddings/sks.safetensors")
        # In single precision, whatever the LoRA's is.
        assert torch.equal(own["<sks>"].vectors["text_encoder"], VECTORS)
        told = load_tensors(out / "embeddings/sks.safetensors")[1]
        assert told["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"
    card = (out / "README.md").read_text()
    assert "A LoRA of rank 4 (alpha 2) with the words `<sks>`" in card
    assert ("write `sks`, or into" in card and "`embedding:sks`" in card) == beside
    # The report's pictures have the word either way, and none at weight 0.
    family = load_family(micro_model)
    bare = family.encode_prompts(["a <sks>"])["prompt_embeds"]
    applied = load_adapter(family, out / facts["file"], [out / name for name in facts["embeddings"]])
    applied.set_weights(1.0)
    assert family.count_tokens("<sks>") == 2
    applied.set_weights(0.0)
    assert torch.equal(family.encode_prompts(["a <sks>"])["prompt_embeds"], bare)


def test_words_alone_are_files_that_diffusers_loads_as_the_card_says(do, run_of_words, micro_model):
    run_of_words(alone=True)
    out = do(name="cats", precision="fp16")
    assert {name for name in files(out) if name.endswith(".safetensors")} == {"embeddings/sks.safetensors"}
    facts = read_json(out / "facts.json")
    assert facts["file"] == "embeddings/sks.safetensors" and facts["rank"] is None and facts["checked"]["clients"] == []
    card = (out / "README.md").read_text()
    assert "A textual inversion of `<sks>` for" in card and "models/Lora" not in card
    assert "textual_inversion" in card and "template:sd-lora" not in card
    load = 'pipe.load_textual_inversion("embeddings/sks.safetensors", token="<sks>")'
    assert load in card
    pipe = load_family(micro_model).pipeline()
    pipe.load_textual_inversion(str(out / "embeddings/sks.safetensors"), token="<sks>")
    numbers = pipe.tokenizer.convert_tokens_to_ids(["<sks>", "<sks>_1"])
    assert torch.equal(pipe.text_encoder.get_input_embeddings().weight[numbers], VECTORS)
