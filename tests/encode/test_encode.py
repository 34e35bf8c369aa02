"""Encoding: the numbers, and that only what is new is made."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import read_json, read_jsonl, write_json, write_jsonl
from lorakiln.encode import encode
from lorakiln.families.sd.model import StableDiffusion
from tests.encode.conftest import SETTINGS, TEXTS, assert_equals_fresh, contents, rows_of, write_metadata, write_picture


def test_tensors_are_the_models(captioned, tmp_path, micro_model, micro_family, capsys):
    out = tmp_path / "out"
    encode(captioned, out, SETTINGS, micro_model)
    assert "captions; on the CPU\n" in capsys.readouterr().out
    assert sorted(contents(out)) == [
        "32x32.safetensors",
        "48x32.safetensors",
        "empty.safetensors",
        "index.json",
    ]
    for name, (file, number, row) in rows_of(out).items():
        tensors = load_file(out / file)
        shades = torch.from_numpy(np.asarray(Image.open(captioned / name), dtype=np.float32).copy())
        pixels = (shades / 255 * 2 - 1).permute(2, 0, 1)[None]
        for variant, view in enumerate((pixels, pixels.flip(3))):
            mean, std = micro_family.encode_pictures(view)
            assert torch.allclose(tensors["latent_mean"][number, variant], mean[0], atol=1e-5)
            assert torch.allclose(tensors["latent_std"][number, variant], std[0], atol=1e-5)
        expected = micro_family.encode_prompts([TEXTS[name]])["prompt_embeds"][0]
        assert torch.allclose(tensors["prompt_embeds"][number], expected, atol=1e-5)
        assert row["text"] == TEXTS[name] and row["sha256"] == hash_file(captioned / name)
    assert load_file(out / "48x32.safetensors")["latent_mean"].shape == (2, 2, 4, 8, 12)
    empty = load_file(out / "empty.safetensors")
    assert torch.allclose(empty["prompt_embeds"], micro_family.encode_prompts([""])["prompt_embeds"], atol=1e-5)


def test_the_index_says_where_everything_came_from(captioned, tmp_path, micro_model, micro_family):
    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    index = read_json(tmp_path / "out" / "index.json")
    told = {"name": "five", "hash": "abc", "pictures": 5, "trigger": "sks", "out_of_domain": None}
    assert index["dataset"] == told
    assert index["base"] == micro_family.facts and index["variants"] == ["plain", "flip"]
    assert [(b["name"], len(b["rows"])) for b in index["buckets"]] == [("32x32", 3), ("48x32", 2)]
    assert set(index["settings"]) == {"prepare", "caption", "encode", "model"}
    assert index["settings"]["encode"]["batch_size"] == 2


def test_adding_a_picture_encodes_one(captioned, tmp_path, micro_model, calls):
    out = tmp_path / "out"
    encode(captioned, out, SETTINGS, micro_model)
    # Equal captions are encoded once; two pictures and variants of each are not equal.
    assert len(calls["pictures"]) == 10
    assert sorted(calls["texts"]) == ["", "a cat", "blue", "blue cat", "red cat"]
    calls["pictures"].clear(), calls["texts"].clear()
    write_picture(captioned, "aa.png", 9)
    write_metadata(captioned, TEXTS | {"aa.png": "sks"})
    encode(captioned, out, SETTINGS, micro_model)
    assert len(calls["pictures"]) == 2 and calls["texts"] == ["sks"]
    assert_equals_fresh(captioned, out, micro_model)


def test_where_a_picture_was_taken_counts_though_its_bits_are_the_same(captioned, tmp_path, micro_model, monkeypatch):
    rows = list(read_jsonl(captioned / "metadata.jsonl"))
    wider = [{**row, "source_width": row["source_width"] + 8} for row in rows]

    def hash_of(rows, out):
        write_jsonl(captioned / "metadata.jsonl", rows)
        encode(captioned, out, SETTINGS, micro_model)
        return read_json(out / "index.json")["hash"]

    # A network that is not told it learns the same of both.
    assert hash_of(rows, tmp_path / "a") == hash_of(wider, tmp_path / "b")
    monkeypatch.setattr(
        StableDiffusion, "place_conditioning", lambda self, place: {"time_ids": torch.tensor(place).float()}
    )
    assert hash_of(rows, tmp_path / "c") != hash_of(wider, tmp_path / "d")


def test_a_text_encoder_in_half_precision_gives_other_embeddings(captioned, tmp_path, micro_model, calls, monkeypatch):
    out = tmp_path / "out"
    encode(captioned, out, SETTINGS, micro_model)
    before = read_json(out / "index.json")["hash"]
    calls["texts"].clear()
    monkeypatch.setattr("lorakiln.encode.stage.choose_text_dtype", lambda device: torch.bfloat16)
    encode(captioned, out, SETTINGS, micro_model)
    assert sorted(calls["texts"]) == ["", "a cat", "blue", "blue cat", "red cat"]
    assert read_json(out / "index.json")["hash"] != before


def test_changing_a_caption_encodes_one_caption_and_loads_no_vae(captioned, tmp_path, micro_model, calls):
    out = tmp_path / "out"
    encode(captioned, out, SETTINGS, micro_model)
    before = read_json(out / "index.json")["hash"]
    calls["pictures"].clear(), calls["texts"].clear()
    write_metadata(captioned, TEXTS | {"a.png": "old cat"})
    encode(captioned, out, SETTINGS, micro_model)
    assert calls == {"pictures": [], "texts": ["old cat"]}
    assert read_json(out / "index.json")["hash"] != before
    assert_equals_fresh(captioned, out, micro_model)


def test_taking_pictures_out_encodes_nothing(captioned, tmp_path, micro_model, calls):
    out = tmp_path / "out"
    encode(captioned, out, SETTINGS, micro_model)
    calls["pictures"].clear(), calls["texts"].clear()
    write_metadata(captioned, {"c.png": "red cat", "deep/d.png": "red cat"})
    encode(captioned, out, SETTINGS, micro_model)
    assert calls == {"pictures": [], "texts": []} and "48x32.safetensors" not in contents(out)
    assert_equals_fresh(captioned, out, micro_model)


CHANGES = {
    "flip": ({"flip": False}, True, False),
    "clip_skip": ({"clip_skip": 2}, False, True),
    "max_tokens": ({"max_tokens": 150}, False, True),
    "dtype": ({"dtype": "float16"}, True, True),
    "batch_size": ({"batch_size": 3}, True, True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_settings_remake_what_they_change(captioned, tmp_path, micro_model, calls, name):
    out, (change, pictures, texts) = tmp_path / "out", CHANGES[name]
    encode(captioned, out, SETTINGS, micro_model)
    before = rows_of(out)["a.png"][2]
    calls["pictures"].clear(), calls["texts"].clear()
    settings = SETTINGS.model_copy(update=change)
    encode(captioned, out, settings, micro_model)
    assert (bool(calls["pictures"]), bool(calls["texts"])) == (pictures, texts)
    after = rows_of(out)["a.png"][2]
    assert (before["key_picture"] != after["key_picture"], before["key_caption"] != after["key_caption"]) == (
        pictures,
        texts,
    )
    assert_equals_fresh(captioned, out, micro_model, settings)


def test_another_base_remakes_everything(captioned, tmp_path, micro_model, calls):
    from tests.conftest import write_micro_model

    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    first = contents(tmp_path / "out")
    calls["pictures"].clear(), calls["texts"].clear()
    write_micro_model(tmp_path / "other", seed=1)
    encode(
        captioned,
        tmp_path / "out",
        SETTINGS,
        micro_model.model_copy(update={"path": str(tmp_path / "other")}),
    )
    assert len(calls["pictures"]) == 10 and len(calls["texts"]) == 5
    assert first["32x32.safetensors"] != contents(tmp_path / "out")["32x32.safetensors"]


def test_float16_is_stored_as_asked(captioned, tmp_path, micro_model):
    encode(captioned, tmp_path / "out", SETTINGS.model_copy(update={"dtype": "float16"}), micro_model)
    for file in ("32x32.safetensors", "empty.safetensors"):
        assert {value.dtype for value in load_file(tmp_path / "out" / file).values()} == {torch.float16}


def test_bits_do_not_depend_on_the_neighbours(captioned, tmp_path, micro_model):
    """What incremental encoding rests on; if this fails on some processor, batches must hold one picture there."""
    encode(captioned, tmp_path / "all", SETTINGS, micro_model)
    for name, text in TEXTS.items():
        write_metadata(captioned, {name: text})
        encode(captioned, tmp_path / "one", SETTINGS, micro_model)
        (file, number, _), (alone, _, _) = rows_of(tmp_path / "all")[name], rows_of(tmp_path / "one")[name]
        whole, single = load_file(tmp_path / "all" / file), load_file(tmp_path / "one" / alone)
        assert all(torch.equal(whole[key][number], single[key][0]) for key in whole)


@pytest.fixture
def whole(captioned, tmp_path, micro_model):
    """What the stage makes where nothing stops it."""
    encode(captioned, tmp_path / "whole", SETTINGS, micro_model)
    return tmp_path / "whole"


def stopped(captioned, out, model, monkeypatch, after):
    """Run the stage and end it before it encodes the batch of pictures that comes after so many."""
    encode_pictures, count = StableDiffusion.encode_pictures, []

    def stopping(self, pixels):
        if len(count) == after:
            raise SystemExit(143)
        count.append(len(pixels))
        return encode_pictures(self, pixels)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(StableDiffusion, "encode_pictures", stopping)
        encode(captioned, out, SETTINGS, model)


def test_what_a_stopped_stage_has_encoded_is_not_encoded_again(
    captioned, tmp_path, micro_model, monkeypatch, calls, whole
):
    out = tmp_path / "out"
    stopped(captioned, out, micro_model, monkeypatch, after=4)  # two batches, each plain and flipped
    assert not out.exists() and list(tmp_path.glob(".out.kept/*.safetensors"))
    calls["pictures"].clear()
    encode(captioned, out, SETTINGS, micro_model)
    assert len(calls["pictures"]) == 4  # two pictures of five, plain and flipped
    assert contents(out) == contents(whole) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("damage", [lambda data: data[:-8], lambda data: data[:-8] + bytes(8), lambda data: b""])
def test_a_kept_row_that_a_power_cut_has_damaged_is_made_again(
    captioned, tmp_path, micro_model, monkeypatch, whole, damage
):
    out = tmp_path / "out"
    stopped(captioned, out, micro_model, monkeypatch, after=4)
    for file in tmp_path.glob(".out.kept/*.safetensors"):
        file.write_bytes(damage(file.read_bytes()))
    encode(captioned, out, SETTINGS, micro_model)
    assert contents(out) == contents(whole)


def test_long_captions_are_told(captioned, tmp_path, micro_model, capsys):
    write_metadata(captioned, TEXTS | {"b.png": "red " * 30 + "blue cat"})
    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    told = capsys.readouterr().err
    assert "longer than the 30 tokens that are read: 1" in told and "b.png: 32 tokens, cut: 'blue cat'" in told
    assert {name: row["unread"] for name, (_, _, row) in rows_of(tmp_path / "out").items() if row["unread"]} == {
        "b.png": "blue cat"
    }


def test_trigger_words_in_pieces_are_recorded(captioned, tmp_path, micro_model):
    facts = read_json(captioned / "dataset.json")
    write_json(captioned / "dataset.json", facts | {"trigger": "red qzx"})
    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    assert read_json(tmp_path / "out/index.json")["trigger_pieces"] == {"qzx": ["q", "z", "x"]}
    write_json(captioned / "dataset.json", facts | {"trigger": "red cat"})
    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    assert "trigger_pieces" not in read_json(tmp_path / "out/index.json")


def test_a_damaged_folder_is_made_again(captioned, tmp_path, micro_model, capsys):
    out = tmp_path / "out"
    encode(captioned, out, SETTINGS, micro_model)
    expected = contents(out)
    for file, damage in (("index.json", b"{"), ("index.json", b"[]"), ("32x32.safetensors", b"\0" * 20)):
        (out / file).write_bytes(damage)
        encode(captioned, out, SETTINGS, micro_model)
        assert contents(out) == expected and "damaged and made again" in capsys.readouterr().out


def test_the_empty_caption_may_be_a_pictures_too(captioned, tmp_path, micro_model, calls):
    write_metadata(captioned, {"a.png": ""})
    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    tensors, empty = (
        load_file(tmp_path / "out" / f)["prompt_embeds"] for f in ("32x32.safetensors", "empty.safetensors")
    )
    assert torch.equal(tensors, empty) and calls["texts"] == [""]


def test_the_fixture_has_the_stages_form(captioned, tmp_path, micro_model, micro_encoded):
    """tests/conftest.py writes an encoded folder by hand for the stages after: it must look as this one does."""

    def form(folder):
        index = json.loads((folder / "index.json").read_text())
        files = [bucket["file"] for bucket in index["buckets"]] + ["empty.safetensors"]
        shapes = {f: {k: (v.dtype, v.shape[1:]) for k, v in load_file(folder / f).items()} for f in files}
        index.pop("trigger_pieces", None)  # for a warning alone: the fixture goes without it
        return sorted(index), sorted(index["buckets"][0]["rows"][0]), sorted(index["dataset"]), shapes

    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    assert form(tmp_path / "out") == form(micro_encoded)
