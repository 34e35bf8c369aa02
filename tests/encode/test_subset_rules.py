"""Pictures whose subset has rules of its own: what is embedded of their captions, and which are mirrored."""

import pytest
import torch
from safetensors.torch import load_file

from lorakiln.artefacts.json_files import read_json, read_jsonl, write_jsonl
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.encode import encode
from lorakiln.schema.augment import AugmentSettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.subset_rules import adapt_augment
from tests.encode.conftest import assert_equals_fresh, rows_of, write_metadata
from tests.encode.test_caption_variants import TAGS, told


def rule(captioned, rules):
    """Give pictures rules, by their names."""
    rows = list(read_jsonl(captioned / "metadata.jsonl"))
    write_jsonl(captioned / "metadata.jsonl", [{**row, "rules": rules.get(row["file_name"], {})} for row in rows])


@pytest.fixture
def settings():
    return EncodeSettings(batch_size=2, captions={"shuffle": True})


def test_captions_are_drawn_by_each_picture_s_own_rules(captioned, tmp_path, micro_model, settings):
    write_metadata(captioned, {**TAGS, "e.png": "one, two"})
    off, kept = {"captions": {"shuffle": False}}, {"captions": {"keep_tags": 1}, "prefix": "of caption"}
    rule(captioned, {"c.png": off, "e.png": {"captions": {"tag_dropout": 0.5, "shuffle": False}}, "a.png": kept})
    encode(captioned, tmp_path / "out", settings, micro_model)
    index = read_json(tmp_path / "out/index.json")
    assert told(index) == {
        "a.png": {"sks, red, cat": 0.5, "sks, cat, red": 0.5},
        "b.png": {"sks, blue": 0.5, "blue, sks": 0.5},
        "c.png": {"sks, red, cat": 1},
        "deep/d.png": {"sks": 1},
        "e.png": {"one, two": 0.25, "one": 0.25, "two": 0.25, "": 0.25},
    }
    # Training needs no more of them; and without them another set is trained on.
    rows = {name: row for name, (_, _, row) in rows_of(tmp_path / "out").items()}
    assert rows["a.png"]["rules"] == {"captions": {"keep_tags": 1}} and "rules" not in rows["b.png"]
    rule(captioned, {"c.png": off})
    encode(captioned, tmp_path / "other", settings, micro_model)
    assert read_json(tmp_path / "other/index.json")["hash"] != index["hash"]


def test_rules_that_draw_are_enough_where_the_experiment_draws_nothing(captioned, tmp_path, micro_model):
    write_metadata(captioned, TAGS)
    rule(captioned, {"a.png": {"captions": {"shuffle": True, "keep_tags": 1}}})
    encode(captioned, tmp_path / "out", EncodeSettings(batch_size=2), micro_model)
    found = told(read_json(tmp_path / "out/index.json"))
    assert found["a.png"] == {"sks, red, cat": 0.5, "sks, cat, red": 0.5} and found["c.png"] == {"sks, red, cat": 1}


@pytest.mark.parametrize("flip", [False, True])
def test_a_subset_is_mirrored_or_not_as_it_says(captioned, tmp_path, micro_model, capsys, flip):
    rule(captioned, {name: {"flip": not flip} for name in ("a.png", "e.png")})
    settings = EncodeSettings(batch_size=2, flip=flip)
    encode(captioned, tmp_path / "out", settings, micro_model)
    assert read_json(tmp_path / "out/index.json")["variants"] == ["plain", "flip"]
    assert read_json(tmp_path / "out/index.json")["settings"]["encode"]["flip"] == flip
    mirrored = set()
    for name, (file, number, _) in rows_of(tmp_path / "out").items():
        mean = load_file(tmp_path / "out" / file)["latent_mean"][number]
        if not torch.equal(mean[0], mean[1]):
            mirrored.add(name)
    assert mirrored == ({"b.png", "c.png", "deep/d.png"} if flip else {"a.png", "e.png"})
    # Only what changes is made anew.
    rule(captioned, {name: {"flip": not flip} for name in ("a.png", "c.png", "e.png")})
    capsys.readouterr()
    encode(captioned, tmp_path / "out", settings, micro_model)
    assert "new: 1 picture, 0 captions" in capsys.readouterr().out
    assert_equals_fresh(captioned, tmp_path / "out", micro_model, settings)


def test_variants_are_drawn_of_each_picture_as_its_subset_says(captioned, tmp_path, micro_model, capsys):
    two, one = {"augment": {"hue": 16, "variants": 2}}, {"augment": {"gamma": 0.2, "variants": 1}}
    settings = EncodeSettings(batch_size=2)
    rule(captioned, {"a.png": two, "e.png": one})
    encode(captioned, tmp_path / "out", settings, micro_model)
    index = read_json(tmp_path / "out/index.json")
    assert index["variants"] == ["plain", "augment1", "augment2"]
    assert index["settings"]["encode"]["augment"]["variants"] == 0 and (tmp_path / "out/variants.png").exists()
    different = {}
    for name, (file, number, _) in rows_of(tmp_path / "out").items():
        mean = load_file(tmp_path / "out" / file)["latent_mean"][number]
        different[name] = [not torch.equal(mean[0], each) for each in mean]
    # What has fewer goes round, and what has none is plain each time.
    plain = [False, False, False]
    assert different == {
        "a.png": [False, True, True],
        "e.png": [False, True, False],
        **dict.fromkeys(("b.png", "c.png", "deep/d.png"), plain),
    }
    rule(captioned, {"a.png": two, "e.png": one, "b.png": one})
    capsys.readouterr()
    encode(captioned, tmp_path / "out", settings, micro_model)
    assert "new: 1 picture, 0 captions" in capsys.readouterr().out
    assert_equals_fresh(captioned, tmp_path / "out", micro_model, settings)


def test_a_subset_draws_as_many_as_the_experiment_or_as_are_usual():
    experiment = AugmentSettings(variants=3, hue=5.0, crop="random")
    assert adapt_augment(experiment, {"crop": "centre"}) == AugmentSettings(variants=3, hue=5.0)
    assert adapt_augment(experiment, {"crop": "centre", "hue": 0}) == AugmentSettings()
    assert adapt_augment(AugmentSettings(), {"crop": "random"}) == AugmentSettings(variants=6, crop="random")
    assert adapt_augment(experiment, {"variants": 8}).variants == 8
    with pytest.raises(ConfigError, match="would all be the plain picture"):
        adapt_augment(AugmentSettings(), {"variants": 2})


def test_crops_of_a_subset_need_the_picture_before_its_crop(captioned, tmp_path, micro_model):
    rule(captioned, {"b.png": {"augment": {"crop": "random"}}})
    with pytest.raises(UserError, match="crop=random needs the picture before its crop") as refused:
        encode(captioned, tmp_path / "out", EncodeSettings(batch_size=2), micro_model)
    assert refused.value.where == captioned / "b.png"


def test_where_no_picture_is_mirrored_any_more_nothing_is_kept_for_it(captioned, tmp_path, micro_model):
    rule(captioned, {row["file_name"]: {"flip": False} for row in read_jsonl(captioned / "metadata.jsonl")})
    encode(captioned, tmp_path / "out", EncodeSettings(batch_size=2, flip=True), micro_model)
    assert read_json(tmp_path / "out/index.json")["variants"] == ["plain"]
