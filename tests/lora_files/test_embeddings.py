"""LoRA files that bring words' embeddings along: read, kept or left out by choice."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.lora_files.embeddings import is_embedding, read_embeddings
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_lora
from lorakiln.sampling import DrawJob, draw
from lorakiln.schema.adapters.lora import LoraSettings
from lorakiln.train.adapter_placement import inject_adapter

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
    into = ["merge", file, "--into", micro_model.path, "--out"]
    assert main([*into, str(tmp_path / "merged")]) == 0 and said in capsys.readouterr().err
    assert main([*into, str(tmp_path / "more"), "--without-embeddings"]) == 0 and said not in capsys.readouterr().err
    family = load_family(micro_model, ("network",))
    target = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    inject_adapter(family, LoraSettings(rank=2, alpha=2, targets=[target], init_from=file), [target], 0)
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


@pytest.mark.parametrize(
    ("name", "tensors", "metadata", "expected"),
    [
        ("mydog", {"emb_params": VECTORS}, {}, {"mydog": {"text_encoder": (2, 24)}}),
        ("file", {"emb_params": VECTORS[0]}, {"word": "<dog>"}, {"<dog>": {"text_encoder": (1, 24)}}),
        (
            "mydog",
            {"string_to_param.*": VECTORS, "string_to_token.*": torch.tensor(265)},
            {},
            {"mydog": {"text_encoder": (2, 24)}},
        ),
        (
            "xl",
            {"clip_l": VECTORS, "clip_g": torch.ones(2, 40)},
            {},
            {"xl": {"text_encoder": (2, 24), "text_encoder_2": (2, 40)}},
        ),
        ("learned_embeds", {"<cat-toy>": VECTORS[0]}, {}, {"<cat-toy>": {"text_encoder": (1, 24)}}),
        ("learned_embeds", {"cattoy": VECTORS[0]}, {}, {"cattoy": {"text_encoder": (1, 24)}}),
        (
            "several",
            {"<s1>": VECTORS[0], "<s2>": VECTORS[1]},
            {},
            {"<s1>": {"text_encoder": (1, 24)}, "<s2>": {"text_encoder": (1, 24)}},
        ),
        ("lora", LAYER | ONE, {}, {"mydog": {"text_encoder": (2, 24)}}),
    ],
)
def test_files_of_their_own_are_read_in_every_form(tmp_path, name, tensors, metadata, expected):
    path = tmp_path / f"{name}.safetensors"
    save_tensors(path, tensors, metadata)
    found = read_embeddings(path)
    assert {
        word: {part: tuple(rows.shape) for part, rows in one.vectors.items()} for word, one in found.items()
    } == expected
    assert torch.equal(next(iter(found.values())).vectors["text_encoder"][0], VECTORS[0])
    assert is_embedding(path) == (name != "lora")
    if len(expected) > 1:
        with pytest.raises(UserError, match="it holds several words, <s1>, <s2>"):
            read_embeddings(path, "dog")
    else:
        assert [one.word for one in read_embeddings(path, "dog").values()] == ["dog"]


@pytest.mark.parametrize(
    ("name", "tensors", "said"),
    [
        ("x.safetensors", LAYER, "it holds no words' embeddings: lora_unet"),
        ("x.safetensors", {"emb_params": torch.ones(1, 2, 3)}, "its shape is 1x2x3"),
        ("x.safetensors", {"clip_l": VECTORS, "clip_g": torch.full((1, 40), float("inf"))}, "not finite"),
        ("x.pt", {"emb_params": VECTORS}, "a pickle, which can run code"),
    ],
)
def test_files_that_are_no_embeddings_are_refused(tmp_path, name, tensors, said):
    save_tensors(tmp_path / name, tensors)
    with pytest.raises(UserError, match=said):
        read_embeddings(tmp_path / name)


def test_pictures_are_drawn_with_them_as_diffusers_draws(file, tmp_path, capsys, micro_model):
    """A LoRA's bundle, and a file of its own under a word of one's choice: the same pictures, which are diffusers'."""
    save_tensors(tmp_path / "own.safetensors", {"emb_params": VECTORS})
    family = load_family(micro_model)
    pipe = family.pipeline()
    pipe.load_textual_inversion(str(tmp_path), weight_name="own.safetensors", token="mydog")
    Merged(family.adaptable(), read_lora(Path(file)).adapter).set_weights(0.5)
    (expected,) = draw(family_of(pipe, family), [DrawJob("a mydog mydog_1", 0, 32, 32)], 2, 5.0, batch_size=1)
    base = ["--base", micro_model.path, "--steps", "2"]
    drawn = {}
    for name, given in {
        "bundle": ["a mydog", "--lora", f"{file}:0.5"],
        "own": ["a rex", "--lora", f"{file}:0.5", "--embedding", f"{tmp_path / 'own.safetensors'}=rex"],
        "off": ["a mydog", "--lora", f"{file}:0"],
        "bare": ["a mydog"],
    }.items():
        assert main(["generate", *given, *base, "--out", str(tmp_path / name)]) == 0
        drawn[name] = Image.open(tmp_path / name / "0000.png")
    assert "left out" not in capsys.readouterr().err
    for name in ("bundle", "own"):
        difference = np.abs(np.asarray(drawn[name]).astype(int) - np.asarray(expected).astype(int)).max()
        assert difference <= 1, name
    assert drawn["off"].tobytes() == drawn["bare"].tobytes() != drawn["bundle"].tobytes()
    digest = hashlib.sha256((tmp_path / "own.safetensors").read_bytes()).hexdigest()[:12]
    assert f'TI hashes: "rex: {digest}"' in drawn["own"].info["parameters"]
    assert "TI hashes" not in drawn["bundle"].info["parameters"]


def family_of(pipe, family):
    """`family`, which reads with what diffusers has made of its tokenizer and its text encoder."""
    family.tokenizer, family.text_encoder = pipe.tokenizer, pipe.text_encoder
    return family


def test_two_files_of_one_word_are_not_drawn_with(file, tmp_path, capsys, micro_model):
    save_tensors(tmp_path / "mydog.safetensors", {"emb_params": VECTORS + 1})
    given = ["generate", "mydog", "--lora", file, "--base", micro_model.path, "--out", str(tmp_path / "out")]
    assert main([*given, "--embedding", str(tmp_path / "mydog.safetensors")]) == 1
    assert "the files have different embeddings of mydog" in capsys.readouterr().err
    assert main([*given, "--embedding", f"{tmp_path / 'mydog.safetensors'}="]) == 1
    assert "there is no word" in capsys.readouterr().err


@pytest.mark.parametrize(
    "tensors",
    [ONE, {"emb_params": VECTORS}, {"clip_l": VECTORS, "clip_g": torch.ones(2, 40)}, {"<cat-toy>": VECTORS[0]}],
)
def test_embeddings_alone_are_no_lora_and_drawn_with_otherwise(tmp_path, tensors):
    save_tensors(tmp_path / "x.safetensors", tensors)
    with pytest.raises(UserError, match="this is a textual inversion, not a LoRA") as refused:
        read_lora(tmp_path / "x.safetensors")
    assert f"generate PROMPT --embedding {tmp_path}/x.safetensors" in refused.value.fix


def test_words_that_mean_two_things_are_not_merged(file, tmp_path, capsys):
    save_tensors(tmp_path / "y.safetensors", LAYER | {"bundle_emb.mydog.emb_params": VECTORS + 1})
    merge = ["merge", file, str(tmp_path / "y.safetensors"), "--out", str(tmp_path / "out.safetensors")]
    assert main(merge) == 1
    assert "the files have different embeddings of mydog" in capsys.readouterr().err
    assert main([*merge, "--without-embeddings"]) == 0


@pytest.mark.parametrize(
    ("tensors", "form", "base", "vectors"),
    [
        ({"emb_params": torch.ones(2, 768)}, "A1111 (emb_params)", "sd15", "text_encoder 2 x 768"),
        ({"<s1>": torch.ones(1024)}, "diffusers", "sd21", "text_encoder 1 x 1024"),
        (
            {"clip_l": torch.ones(3, 768), "clip_g": torch.ones(3, 1280)},
            "SDXL's two encoders, clip_l and clip_g",
            "sdxl",
            "text_encoder 3 x 768, text_encoder_2 3 x 1280",
        ),
        (ONE, "bundle (bundle_emb)", "unknown", "text_encoder 2 x 24"),
    ],
)
def test_inspect_tells_what_a_file_of_words_is(tmp_path, capsys, tensors, form, base, vectors):
    save_tensors(tmp_path / "mydog.safetensors", tensors, {"step": "500"})
    path = str(tmp_path / "mydog.safetensors")
    assert main(["inspect", path]) == 0
    told = capsys.readouterr().out
    word = "<s1>" if form == "diffusers" else "mydog"
    for line in (f"form        {form}: words' vectors", f"base        {base}\n", f"{word}: {vectors}; of", "step: 500"):
        assert line in told
    count = int(vectors.split()[1])
    # A word that Hydra does not take as it is has no command to be copied.
    assert (f"'+train.tokens={{mydog: {{vectors: {count}}}}}'" in told) == (word == "mydog") == ("to go on" in told)
    assert main(["inspect", path, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["embeddings"]
    assert found["lengths"]["text_encoder"] == pytest.approx(
        next(iter(tensors.values())).reshape(count, -1).norm(dim=1).tolist()
    )


def test_words_are_converted_between_programs_to_the_bit(tmp_path, capsys):
    diffusers, a1111, back = (tmp_path / f"{name}.safetensors" for name in ("learned_embeds", "sks", "back"))
    save_tensors(diffusers, {"<sks>": VECTORS})
    assert main(["convert", str(diffusers), str(a1111)]) == 0
    assert "<sks>, as A1111 (emb_params)" in capsys.readouterr().out
    assert torch.equal(load_file(a1111)["emb_params"], VECTORS)
    assert main(["convert", str(a1111), str(back), "--to", "diffusers"]) == 0
    assert {word: torch.equal(rows, VECTORS) for word, rows in load_file(back).items()} == {"<sks>": True}
    assert main(["convert", str(diffusers), str(a1111)]) == 1 and "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tensors", "options", "said"),
    [
        ({"<a>": VECTORS, "<b>": VECTORS}, [], "holds one word, and these are <a>, <b>\n  fix: give --to diffusers"),
        (XL, ["--to", "diffusers"], "of one text encoder, and mydog is for two\n  fix: leave --to out"),
        (ONE, ["--to", "peft"], "has no form for words' vectors"),
        (ONE, ["--rank", "4"], "--rank: is for LoRAs and base models"),
    ],
)
def test_words_that_a_form_has_no_place_for_are_refused(tmp_path, capsys, tensors, options, said):
    save_tensors(tmp_path / "x.safetensors", tensors)
    assert main(["convert", str(tmp_path / "x.safetensors"), str(tmp_path / "out.safetensors"), *options]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out.safetensors").exists()
