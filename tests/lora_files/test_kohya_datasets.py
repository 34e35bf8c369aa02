"""What a file's metadata says of its pictures, by which sd-scripts' and A1111's users know a dataset."""

import json

import pytest

from lorakiln.facts.run import RunFacts
from lorakiln.lora_files import kohya_metadata
from lorakiln.rows import CaptionedRow
from lorakiln.schema.subset_rules import PictureRules, SubsetRules
from tests.export.conftest import make_facts, make_rows


@pytest.fixture
def facts(micro_model, micro_family):
    return make_facts(micro_model, micro_family)


def build(facts, rows=None, private=False):
    rows = rows or [CaptionedRow(**row) for row in make_rows()]
    return kohya_metadata.build_metadata(RunFacts(**facts), rows, "cats", private=private)


@pytest.fixture
def metadata(facts):
    return build(facts)


def test_datasets_are_told_as_a1111_reads_them(metadata):
    assert json.loads(metadata["ss_dataset_dirs"]) == {"3_secret_folder": {"n_repeats": 3, "img_count": 4}}
    tags = json.loads(metadata["ss_tag_frequency"])["3_secret_folder"]
    assert tags == {"sks": 4, "a red cat": 2, "a blue cat": 1, "old": 1, "hidden treasure": 1}
    buckets = json.loads(metadata["ss_bucket_info"])
    assert buckets["buckets"] == {
        "0": {"resolution": [32, 32], "count": 3},
        "1": {"resolution": [48, 32], "count": 1},
    }
    # Square sources: one of four went into a bucket of 1.5.
    assert buckets["mean_img_ar_error"] == 0.125


def test_the_dataset_is_told_as_sd_scripts_tells_one_of_a_dataset_config(metadata, facts):
    (dataset,) = json.loads(metadata["ss_datasets"])
    assert dataset["bucket_info"] == json.loads(metadata["ss_bucket_info"])
    assert dataset["tag_frequency"] == json.loads(metadata["ss_tag_frequency"])
    assert {key: dataset[key] for key in ("is_dreambooth", "batch_size_per_device", "num_train_images")} == {
        "is_dreambooth": True,
        "batch_size_per_device": 2,
        "num_train_images": 9,
    }
    assert (dataset["resolution"], dataset["enable_bucket"]) == ([32, 32], True)
    assert (dataset["min_bucket_reso"], dataset["max_bucket_reso"]) == (16, 64)
    (subset,) = dataset["subsets"]
    assert {key: value for key, value in subset.items() if value} == {
        "img_count": 4,
        "num_repeats": 3,
        "image_dir": "secret_folder",
        "class_tokens": "sks",
    }
    facts["settings"]["encode"]["flip"] = True
    facts["settings"]["encode"]["augment"] = {"variants": 2, "crop": "random", "hue": 16.0}
    told = build(facts, private=True)["ss_datasets"]
    assert json.loads(told)[0]["subsets"][0]["flip_aug"] is True
    assert json.loads(told)[0]["subsets"][0]["random_crop"] is json.loads(told)[0]["subsets"][0]["color_aug"] is True
    assert "face_crop_aug_range" not in json.loads(told)[0]["subsets"][0]
    assert json.loads(told)[0]["subsets"][0]["image_dir"] is None and json.loads(told)[0]["tag_frequency"] == {}


def test_rules_of_captions_are_told_as_sd_scripts_does(facts):
    facts["settings"]["encode"]["captions"] = {
        "shuffle": True,
        "keep_tags": 2,
        "keep_separator": "|||",
        "secondary_separator": ";;;",
        "wildcards": True,
        "tag_dropout": 0.1,
    }
    facts["settings"]["caption"] |= {"prefix": "photo of my house,", "suffix": "best"}
    facts["settings"]["train"]["objective"]["caption_dropout_every_epochs"] = 3
    told = build(facts)
    expected = {
        "ss_shuffle_caption": "True",
        "ss_keep_tokens": "2",
        "ss_caption_tag_dropout_rate": "0.1",
        "ss_caption_dropout_every_n_epochs": "3",
    }
    assert {key: told[key] for key in expected} == expected
    subset = json.loads(told["ss_datasets"])[0]["subsets"][0]
    rules = {
        "shuffle_caption": True,
        "keep_tokens": 2,
        "keep_tokens_separator": "|||",
        "secondary_separator": ";;;",
        "enable_wildcard": True,
    }
    words = {"caption_prefix": "photo of my house,", "caption_suffix": "best"}
    assert subset.items() >= (rules | words).items()
    hidden = json.loads(build(facts, private=True)["ss_datasets"])[0]["subsets"][0]
    assert hidden.items() >= (rules | dict.fromkeys(words)).items()


def test_folders_with_rules_of_their_own_are_told_apart(facts):
    rows = [CaptionedRow(**row) for row in make_rows()]
    rules = SubsetRules(prefix="photo of", flip=True, captions={"shuffle": True, "keep_tags": 1})
    rows[0] = rows[0].changed(rules=rules)
    told = build(facts, rows)
    subsets = json.loads(told["ss_datasets"])[0]["subsets"]
    ours = next(one for one in subsets if one["caption_prefix"] == "photo of")
    assert (ours["flip_aug"], ours["shuffle_caption"], ours["keep_tokens"], ours["img_count"]) == (True, True, 1, 1)
    others = [one for one in subsets if one is not ours]
    assert others and not any(one["shuffle_caption"] or one["caption_prefix"] for one in others)
    # No folder's numbers are lost for another of its name.
    dirs = json.loads(told["ss_dataset_dirs"])
    assert sum(one["img_count"] for one in dirs.values()) == sum(
        one["img_count"] for one in subsets if not one["is_reg"]
    )
    private = build(facts, rows, private=True)
    assert "photo of" not in "".join(private.values())


def test_pictures_of_sizes_of_their_own_are_a_dataset_each(facts):
    rows = [CaptionedRow(**row) for row in make_rows()]
    whole = json.loads(build(facts, rows)["ss_datasets"])[0]
    large = PictureRules(resolution=[64, 48], bucket={"no_upscale": True, "max": 128}, alpha_mask=True)
    rows[0] = rows[0].changed(pictures=large, repeats=2, rules=SubsetRules(augment={"crop": "random"}))
    facts["dataset"]["pictures"], facts["held_out"] = len(rows), 0
    told = build(facts, rows)
    found = sorted(json.loads(told["ss_datasets"]), key=lambda one: one["max_bucket_reso"])
    assert [one["resolution"] for one in found] == [[32, 32], [64, 48]]
    assert [one["max_bucket_reso"] for one in found] == [whole["max_bucket_reso"], 128]
    assert [sum(each["img_count"] for each in one["subsets"]) for one in found] == [3, 1]
    # Three times each by the training's repeats, and the one twice as often.
    assert [one["num_train_images"] for one in found] == [9, 6]
    assert sum(one["num_train_images"] for one in found) == int(told["ss_num_train_images"])
    counts = [bucket["count"] for one in found for bucket in one["bucket_info"]["buckets"].values()]
    assert sum(counts) == 4 and len(found[1]["bucket_info"]["buckets"]) == 1
    assert [[each["random_crop"] for each in one["subsets"]] for one in found] == [[False], [True]]


def test_epochs_are_counted_by_the_batches_of_datasets_that_have_their_own(facts):
    rows = [CaptionedRow(**row) for row in make_rows()]
    rows[0] = rows[0].changed(rules=SubsetRules(batch_size=1))
    # Three times each: three steps of the one, 9 / 4 of the others.
    facts |= {"held_out": 0, "epoch_steps": 3 + 9 / 4}
    facts["dataset"]["pictures"] = len(rows)
    told = build(facts, rows)
    names = ("ss_num_train_images", "ss_num_batches_per_epoch", "ss_num_epochs", "ss_epoch", "ss_steps")
    assert {name: told[name] for name in names} == {
        "ss_num_train_images": "12",
        "ss_num_batches_per_epoch": "6",
        "ss_num_epochs": "4",
        "ss_epoch": "3",
        "ss_steps": "20",
    }
    # 22 thirds: no number of the machine is that, and three epochs of it are 22 steps and no more.
    facts |= {"epoch_steps": 22 / 3, "step": 22, "max_steps": 22}
    told = build(facts, rows)
    assert (told["ss_num_epochs"], told["ss_epoch"]) == ("3", "3")
