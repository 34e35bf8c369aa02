"""New words that are trained, alone and beside a LoRA, against plain torch on a table that has grown."""

import shutil
from dataclasses import replace

import pytest
import torch

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.learned_words import list_word_tables
from lorakiln.lora_files import diffusers_form
from lorakiln.lora_files.embeddings import save_embedding
from lorakiln.schema.adapters.lora import LoraSettings
from lorakiln.schema.tokens import TokenSettings
from lorakiln.train.adapter_placement import inject_adapter
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.learned_tokens import check_tokens, insert_tokens, read_initial_embeddings
from lorakiln.train.live_text import LiveText
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.share import Share
from lorakiln.train.validation_split import hold_out

WORD = {"sks": {"init": "cat", "vectors": 2}}
ADAMW = {"kind": "adamw", "lr": 0.05, "weight_decay": 0.1}


@pytest.fixture
def make_learning(micro_model, micro_encoded, make_settings):
    """A module whose words are trained, as `train` makes it, and no trainer."""

    def make(tokens, **changes):
        settings = make_settings(**{"parts": [], "tokens": tokens, "optimizer": ADAMW, **changes})
        family = load_family(micro_model, ("text", "network"))
        if settings.parts is None:
            targets = family.target_modules("attention")
            inject_adapter(family, LoraSettings(rank=2, alpha=2), targets, settings.seed)
        insert_tokens(family, settings.tokens, settings.seed)
        encoded = EncodedDataset.read(micro_encoded)
        split = hold_out(encoded.buckets, settings.validation)
        return LoraModule(family, encoded, split.trained, settings, Share(), LiveText(family, trained=True))

    return make


def take_steps(module, count):
    for step in range(count):
        module.done = step
        samples = module.schedule(step)
        module.flat.gradients.zero_()
        module.loss(samples, module.make_draws(step, samples), slice(0, 4)).backward()
        for group in module.optimizer.param_groups:
            group["lr"] = module.rate(step, group["name"])
        module.optimizer.step()
        module.tokens.clip_norms()


def test_a_words_vectors_are_what_plain_torch_trains_in_a_grown_table(make_learning, micro_model):
    module = make_learning(WORD)
    family = module.family
    bare = load_family(micro_model, ("text",))
    table = bare.text_encoder.get_input_embeddings().weight.detach()
    (number,) = bare.tokenizer("cat", add_special_tokens=False).input_ids
    (found,) = list_word_tables(family.adaptable()).values()
    assert [name for name, _ in module.adapted.parameters()] == ["tokens.sks.text_encoder"]
    assert torch.equal(found.learned[0], table[[number, number]]) and torch.equal(found.weight, table)

    encoder, tokenizer = bare.text_encoder, bare.tokenizer
    tokenizer.add_tokens(["sks", "sks_1"])
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    grown = encoder.get_input_embeddings().weight
    with torch.no_grad():
        grown[-2:] = table[[number, number]]
    rows = torch.nn.Parameter(grown[-2:].detach().clone())
    optimizer = torch.optim.AdamW([rows], lr=0.05, weight_decay=0.1)
    other = make_learning(WORD)

    def encode(texts):
        texts = [text.replace("sks", "sks sks_1") for text in texts]
        ids = tokenizer(texts, padding="max_length", max_length=32, truncation=True, return_tensors="pt").input_ids
        own = torch.cat([grown[:-2].detach(), rows])
        return {"prompt_embeds": torch.func.functional_call(encoder, {table_name(encoder): own}, ids)[0]}

    other.live.encode = encode
    for step in range(4):
        other.done, samples = step, other.schedule(step)
        loss = other.loss(samples, other.make_draws(step, samples), slice(0, 4))
        (rows.grad,) = torch.autograd.grad(loss, [rows])
        optimizer.step()
    take_steps(module, 4)
    assert not torch.equal(found.learned[0][0], found.learned[0][1])
    torch.testing.assert_close(found.learned[0].detach(), rows.detach(), rtol=1e-5, atol=1e-6)
    # Nothing else has moved: neither the table nor the encoder.
    assert torch.equal(found.weight, table)
    fresh = load_family(micro_model, ("network",)).network.state_dict()
    assert all(torch.equal(fresh[name], value) for name, value in family.network.state_dict().items())


def table_name(encoder):
    weight = encoder.get_input_embeddings().weight
    return next(name for name, one in encoder.named_parameters() if one is weight)


def test_a_word_has_a_rate_and_a_longest_vector_of_its_own(make_learning, micro_model):
    table = load_family(micro_model, ("text",)).text_encoder.get_input_embeddings().weight.detach()
    lengths = torch.linalg.vector_norm(table, dim=1)
    module = make_learning({"sks": {"init": "cat", "lr": 0.2, "max_norm": 0.5}, "red": {"vectors": 3}}, parts=None)
    assert module.groups.peaks["tokens.sks"] == 0.2 and module.groups.peaks[""] == 0.05
    (found,) = list_word_tables(module.family.adaptable()).values()
    drawn = found.learned[1].detach().clone()
    assert drawn.shape == (3, 24) and drawn.std() == pytest.approx(table.std().item(), rel=0.3)
    take_steps(module, 3)
    assert torch.linalg.vector_norm(found.learned[0]).item() <= 0.5 * lengths.mean().item() * (1 + 1e-5)
    assert not torch.equal(found.learned[1], drawn)
    assert module.adapted.read().layers and set(module.adapted.read().embeddings) == {"sks", "red"}


@pytest.mark.parametrize("parts", [[], None], ids=["alone", "with a LoRA"])
def test_a_run_of_words_goes_on_bit_for_bit(train_micro, train_killed, make_settings, parts):
    given = {"samples": {"every": 4, "prompts": ["sks"], "seeds": [0], "steps": 2}}
    given |= {"validation": {"every": 4, "fraction": 0.3, "draws": 2}, "ema": {"decay": 0.9}}
    settings = make_settings(steps=8, parts=parts, tokens=WORD, checkpoint_every=4, **given)
    whole = train_micro(settings, "whole")
    train_killed(settings.model_copy(update={"seed": 4}), at=6)
    again = train_micro(settings.model_copy(update={"seed": 4}), "again")
    straight = train_micro(settings.model_copy(update={"seed": 4, "checkpoint_every": 0}), "straight")
    files = [folder / "adapters/step-00000008.safetensors" for folder in (whole, again, straight)]
    assert files[1].read_bytes() == files[2].read_bytes() != files[0].read_bytes()
    found = diffusers_form.load(files[0])
    assert found.embeddings["sks"].vectors["text_encoder"].shape == (2, 24) and bool(found.layers) == (parts is None)
    first, last = (whole / f"samples/step-0000000{step}/00.png" for step in (0, 8))
    assert first.read_bytes() != last.read_bytes()
    assert all(torch.isfinite(one).all() for one in load_tensors(files[0])[0].values())


def test_words_go_on_from_a_lora_or_from_a_file_of_their_own(
    train_micro, make_settings, micro_encoded, tmp_path, capsys
):
    encoded = shutil.copytree(micro_encoded, tmp_path / "encoded")
    pieces = {"sks": ["s", "k", "s"], "qzx": ["q", "z", "x"]}  # of its trigger words: one that is learned, one not
    write_json(encoded / "index.json", read_json(encoded / "index.json") | {"trigger_pieces": pieces})
    first = train_micro(make_settings(steps=2, tokens=WORD), "first", encoded)
    assert "3 pieces or more: qzx = q + z + x (a" in capsys.readouterr().err
    both = first / "adapters/step-00000002.safetensors"
    first = diffusers_form.load(both)
    given = first.embeddings["sks"].vectors["text_encoder"]
    own = tmp_path / "my dog.safetensors"
    save_embedding(replace(first.embeddings["sks"], word="<my-dog>"), own)
    still = {"steps": 1, "tokens": {"sks": {"init": "red", "lr": 1e-12}}, "optimizer": {"lr": 1e-12, "weight_decay": 0}}
    for name, file, parts in (("both", both, None), ("alone", own, []), ("beside a fresh one", own, None)):
        out = train_micro(make_settings(parts=parts, adapter={"init_from": str(file)}, **still), name)
        told = capsys.readouterr()
        assert f"begins with {file}, with its vectors of sks\n" in told.out and "warning" not in told.err
        found = diffusers_form.load(out / "adapters/step-00000001.safetensors")
        torch.testing.assert_close(found.embeddings["sks"].vectors["text_encoder"], given, rtol=1e-6, atol=1e-7)
        assert bool(found.layers) == (parts is None)
        for module, layer in found.layers.items():
            wanted = first.layers[module].delta() if file == both else torch.zeros_like(layer.delta())
            torch.testing.assert_close(layer.delta(), wanted, rtol=1e-5, atol=1e-7)


def test_a_file_without_the_word_or_with_others_of_its_vectors_is_refused(make_settings, micro_model, tmp_path):
    files = {count: tmp_path / f"{count}.safetensors" for count in (1, 2)}
    save_tensors(files[1], {"emb_params": torch.ones(3, 24)})
    save_tensors(files[2], {"<a>": torch.ones(24), "<b>": torch.ones(24)})

    def begin(file, **changes):
        settings = make_settings(tokens=WORD, adapter={"init_from": str(file)}, **changes)
        insert_tokens(load_family(micro_model, ("text",)), settings.tokens, 0, read_initial_embeddings(settings))

    with pytest.raises(UserError, match="has 3 vectors of sks, and it is to have 2.*\n  fix: set vectors: 3"):
        begin(files[1])
    with pytest.raises(UserError, match="holds <a>, <b>, and none of those that are trained: sks"):
        begin(files[2])
    save_tensors(files[1], {"lora_unet_x.lora_down.weight": torch.ones(1, 2)})
    begin(files[1])
    with pytest.raises(UserError, match="holds no words, and none"):
        begin(files[1], parts=[])


def test_words_that_would_learn_nothing_or_do_not_fit_are_refused(micro_encoded, micro_model, make_settings):
    encoded = EncodedDataset.read(micro_encoded)
    split = hold_out(encoded.buckets, make_settings().validation)
    with pytest.raises(UserError, match="no caption that is trained on holds 'mydog'"):
        check_tokens({"sks": TokenSettings(), "mydog": TokenSettings()}, encoded, split)
    family = load_family(micro_model, ("text",))
    with pytest.raises(UserError, match="'a red cat' has 3 tokens, and x is to have 2 vectors"):
        insert_tokens(family, {"x": TokenSettings(init="a red cat", vectors=2)}, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parts": []}, "parts is empty, and no tokens are trained"),
        ({"tokens": {"a.b": {}}}, "a word holds no dot"),
        ({"tokens": {" ": {}}}, "a word holds no dot"),
        ({"tokens": {"Cat": {}, "cat": {}}}, "twice"),
        ({"tokens": {"cat": {"lr": 0.1}}, "optimizer": {"kind": "prodigy", "lr": 1.0}}, "finds one rate"),
        ({"tokens": {"cat": {"max_norm": 1}}, "optimizer": {"kind": "schedule_free"}}, "means nothing"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make_settings, changes, said):
    with pytest.raises(ValueError, match=said):
        make_settings(**changes)
