"""LoRA files that bring words' embeddings along: read, kept or left out by choice."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.lora_files.reading import read_lora
from lorakiln.schema.adapters.lora import LoraSettings
from lorakiln.train.adapting import put_adapter

NAME = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
LAYER = {f"{NAME}.lora_down.weight": torch.ones(2, 32), f"{NAME}.lora_up.weight": torch.ones(32, 2)}
VECTORS = torch.arange(48.0).reshape(2, 24)
ONE = {"bundle_emb.mydog.string_to_param.*": VECTORS, "bundle_emb.mydog.string_to_token.*": torch.tensor(265)}
XL = {"bundle_emb.mydog.clip_l": VECTORS, "bundle_emb.mydog.clip_g": torch.ones(2, 40)}


@pytest.fixture
def file(tmp_path):
    save_tensors(tmp_path / "x.safetensors", LAYER | ONE)
    return str(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (ONE, {"mydog": {"text_encoder": (2, 24)}}),
        ({"bundle_emb.mydog.emb_params": VECTORS}, {"mydog": {"text_encoder": (2, 24)}}),
        (XL, {"mydog": {"text_encoder": (2, 24), "text_encoder_2": (2, 40)}}),
        ({"<s1>": VECTORS[0], "<s2>": VECTORS}, {"<s1>": {"text_encoder": (1, 24)}, "<s2>": {"text_encoder": (2, 24)}}),
    ],
)
def test_every_way_of_bringing_them_along_is_read_and_kept(tmp_path, capsys, tensors, expected):
    save_tensors(tmp_path / "x.safetensors", LAYER | tensors)
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(tmp_path / "x.safetensors"), str(out)]) == 0
    for path in (tmp_path / "x.safetensors", out):
        found = read_lora(path).adapter
        assert len(found.layers) == 1
        shapes = {
            word: {part: tuple(one.shape) for part, one in embedding.vectors.items()}
            for word, embedding in found.embeddings.items()
        }
        assert shapes == expected
        assert torch.equal(next(iter(found.embeddings.values())).vectors["text_encoder"][0], VECTORS[0])
    capsys.readouterr()
    assert main(["inspect", str(out), "--json"]) == 0
    told = {one["word"]: one["vectors"] for one in json.loads(capsys.readouterr().out)["embeddings"]}
    assert told == {word: {part: list(shape) for part, shape in parts.items()} for word, parts in expected.items()}


def test_inspect_lists_them(file, capsys):
    assert main(["inspect", file]) == 0
    assert "  embeddings  mydog (2 vectors)\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["convert", "resize", "merge"])
def test_they_are_kept_or_left_out_by_choice(file, tmp_path, command):
    kept, without = str(tmp_path / "kept.safetensors"), str(tmp_path / "without.safetensors")
    for out, options in ((kept, []), (without, ["--without-embeddings"])):
        words = [file, "--out", out] if command == "merge" else [file, out]
        assert main([command, *words, *options, *(["--rank", "1"] if command == "resize" else [])]) == 0
    assert torch.equal(load_file(kept)["bundle_emb.mydog.string_to_param.*"], VECTORS)
    assert {key.split(".")[0] for key in load_file(without)} == {NAME}


def test_they_are_written_as_files_of_their_own(file, tmp_path, capsys, micro_model):
    out, folder = str(tmp_path / "out.safetensors"), tmp_path / "words"
    assert main(["convert", file, out, "--to", "diffusers", "--embeddings", str(folder)]) == 0
    assert f"embedding: {folder / 'mydog.safetensors'}" in capsys.readouterr().out
    assert {key: value.tolist() for key, value in load_file(folder / "mydog.safetensors").items()} == {
        "emb_params": VECTORS.tolist()
    }
    assert main(["convert", file, out, "--embeddings", str(folder), "--overwrite"]) == 0
    assert main(["convert", file, str(tmp_path / "more.safetensors"), "--embeddings", str(folder)]) == 1
    assert not (tmp_path / "more.safetensors").exists()
    pipe = load_family(micro_model).pipeline()
    pipe.load_textual_inversion(str(folder), weight_name="mydog.safetensors", token="mydog")
    tokens = pipe.tokenizer.convert_tokens_to_ids(["mydog", "mydog_1"])
    assert torch.equal(pipe.text_encoder.get_input_embeddings().weight[tokens], VECTORS)


def test_sdxls_are_two_tensors_of_one_file(tmp_path):
    save_tensors(tmp_path / "x.safetensors", LAYER | XL | {"<s/1>": VECTORS})
    out, folder = str(tmp_path / "out.safetensors"), tmp_path / "words"
    assert main(["convert", str(tmp_path / "x.safetensors"), out, "--embeddings", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["mydog.safetensors", "s_1.safetensors"]
    assert set(load_file(folder / "mydog.safetensors")) == {"clip_l", "clip_g"}


@pytest.mark.parametrize("form", ["diffusers", "peft"])
def test_a_form_without_a_place_for_them_asks_for_the_choice(file, tmp_path, capsys, form):
    out = tmp_path / ("out" if form == "peft" else "out.safetensors")
    assert main(["convert", file, str(out), "--to", form]) == 1
    error = capsys.readouterr().err
    assert f"a file for {form} has no place for its embeddings of mydog" in error and "--without-embeddings" in error
    assert not out.exists()
    assert main(["convert", file, str(out), "--to", form, "--without-embeddings"]) == 0
    assert "left out: the embeddings of mydog" in capsys.readouterr().out


def test_what_does_not_use_them_says_so(file, tmp_path, capsys, micro_model):
    said = "x.safetensors: its embeddings are left out, and mydog read as any other text"
    base = ["--base", micro_model.path, "--steps", "1"]
    assert main(["generate", "x", "--lora", file, *base, "--out", str(tmp_path / "drawn")]) == 0
    assert capsys.readouterr().err.count(said) == 1
    into = ["merge", file, "--into", micro_model.path, "--out"]
    assert main([*into, str(tmp_path / "baked")]) == 0 and said in capsys.readouterr().err
    assert main([*into, str(tmp_path / "more"), "--without-embeddings"]) == 0 and said not in capsys.readouterr().err
    family = load_family(micro_model, ("network",))
    target = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    put_adapter(family, LoraSettings(rank=2, alpha=2, targets=[target], init_from=file), [target], 0)
    error = capsys.readouterr().err
    assert said in error and f"`lorakiln convert {file} lora.safetensors --embeddings FOLDER`" in error


def test_one_part_of_a_lora_has_its_own(tmp_path):
    text = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    layer = {f"{text}.lora_down.weight": torch.ones(2, 24), f"{text}.lora_up.weight": torch.ones(24, 2)}
    save_tensors(tmp_path / "x.safetensors", LAYER | layer | ONE)
    for part, kept in (("unet", False), ("text_encoder", True)):
        out = tmp_path / f"{part}.safetensors"
        assert main(["convert", str(tmp_path / "x.safetensors"), str(out), "--only", part]) == 0
        assert bool(read_lora(out).adapter.embeddings) == kept


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"bundle_emb.a.string_to_param.*": torch.ones(2, 3, 4)}, "its shape is 2x3x4"),
        ({"<s1>": torch.full((4,), float("nan"))}, "not finite"),
        ({"bundle_emb.a.clip_l": VECTORS, "bundle_emb.a.emb_params": VECTORS}, "two embeddings of a"),
        ({"bundle_emb.a.something": VECTORS}, "belong to no layer"),
    ],
)
def test_damaged_ones_are_refused(tmp_path, tensors, said):
    save_tensors(tmp_path / "x.safetensors", LAYER | tensors)
    with pytest.raises(UserError, match=said):
        read_lora(tmp_path / "x.safetensors")


def test_embeddings_alone_are_no_lora(tmp_path):
    save_tensors(tmp_path / "x.safetensors", ONE)
    with pytest.raises(UserError, match="this is a textual inversion, not a LoRA"):
        read_lora(tmp_path / "x.safetensors")


def test_words_that_mean_two_things_are_not_merged(file, tmp_path, capsys):
    save_tensors(tmp_path / "y.safetensors", LAYER | {"bundle_emb.mydog.emb_params": VECTORS + 1})
    merge = ["merge", file, str(tmp_path / "y.safetensors"), "--out", str(tmp_path / "out.safetensors")]
    assert main(merge) == 1
    assert "the files have different embeddings of mydog" in capsys.readouterr().err
    assert main([*merge, "--without-embeddings"]) == 0
