import hashlib
import json
import struct

import pytest
import torch

from lorakiln import __version__
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.facts.run import RunFacts
from lorakiln.lora_files import kohya_metadata
from lorakiln.rows import CaptionedRow
from lorakiln.schema.subset_rules import PictureRules, SubsetRules
from tests.export.conftest import make_facts, make_rows


@pytest.fixture
def facts(micro_model, micro_family):
    return make_facts(micro_model, micro_family)


def build(facts, name, private):
    rows = [CaptionedRow(**row) for row in make_rows()]
    return kohya_metadata.build_metadata(RunFacts(**facts), rows, name, private=private)


@pytest.fixture
def metadata(facts):
    return build(facts, "cats", private=False)


def test_the_values_are_true_and_spelled_as_sd_scripts_does(metadata):
    assert all(isinstance(value, str) for value in metadata.values())
    expected = {
        "ss_output_name": "cats",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_network_args": "{}",
        "ss_network_dropout": "None",
        "ss_v2": "False",
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "sd",
        "ss_clip_skip": "2",
        "ss_seed": "7",
        "ss_learning_rate": "0.0001",
        "ss_unet_lr": "0.0001",
        "ss_text_encoder_lr": "None",
        "ss_steps": "20",
        "ss_max_train_steps": "20",
        "ss_lr_scheduler": "cosine",
        "ss_lr_warmup_steps": "2",
        "ss_min_snr_gamma": "5.0",
        "ss_noise_offset": "None",
        "ss_loss_type": "l2",
        "ss_huber_c": "None",
        "ss_mixed_precision": "no",
        "ss_resolution": "(32, 32)",
        "ss_max_grad_norm": "1.0",
        # Four pictures less one held out, three times each: 9 in batches of 4.
        "ss_num_train_images": "9",
        "ss_num_validation_images": "1",
        "ss_num_batches_per_epoch": "3",
        # 80 pictures of 9 an epoch: eight whole ones.
        "ss_num_epochs": "9",
        "ss_epoch": "8",
        "ss_total_batch_size": "4",
        "ss_batch_size_per_device": "2",
        "ss_gradient_accumulation_steps": "2",
        "ss_optimizer": "torch.optim.AdamW(betas=[0.9, 0.999],eps=1e-08,weight_decay=0.01)",
    }
    assert {key: metadata[key] for key in expected} == expected


def test_the_precision_is_the_one_that_was_used(facts):
    facts["precision"] = "bf16"
    assert build(facts, "x", private=False)["ss_mixed_precision"] == "bf16"
    del facts["precision"]  # a run of before it was recorded: what was asked for
    facts["settings"]["train"]["trainer"]["precision"] = "fp32"
    assert build(facts, "x", private=False)["ss_mixed_precision"] == "no"


@pytest.mark.parametrize(
    ("change", "where", "word"),
    [
        (lambda facts: facts["base"].update(version="sd_v9"), None, "sd_v9"),
        (lambda facts: facts["base"].update(prediction_type="sample"), "model.prediction_type", "sample"),
        (lambda facts: facts.update(precision="fp8"), "train.trainer.precision", "fp8"),
    ],
)
def test_what_no_file_can_tell_is_refused_with_the_words_that_there_are(facts, change, where, word):
    change(facts)
    with pytest.raises(UserError, match=word) as caught:
        build(facts, "x", private=False)
    assert caught.value.where == where and caught.value.fix


@pytest.mark.parametrize("part", ["adapter", "objective", "optimizer", "scheduler"])
def test_a_run_of_a_kind_that_is_not_installed_is_refused_by_its_name(facts, part):
    facts["settings"]["train"][part]["kind"] = "made_up"
    with pytest.raises(UserError, match=rf"(?s)train\.{part}\.kind.*made_up") as caught:
        build(facts, "x", private=False)
    assert "install the package that adds it" in caught.value.fix


def test_a_range_of_timesteps_is_told(facts):
    assert "modelspec.timestep_range" not in build(facts, "x", private=False)
    facts["settings"]["train"]["objective"]["max_timestep"] = 700
    assert build(facts, "x", private=False)["modelspec.timestep_range"] == "0,700"


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        ({"kind": "l1"}, {"ss_loss_type": "l1"}),
        (
            {"kind": "smooth_l1", "huber_schedule": "exponential", "huber_scale": 2.0},
            {
                "ss_loss_type": "smooth_l1",
                "ss_huber_schedule": "exponential",
                "ss_huber_c": "0.1",
                "ss_huber_scale": "2.0",
            },
        ),
        ({"min_snr_gamma": None, "debiased_estimation": True}, {"ss_debiased_estimation": "True"}),
        (
            {"noise_offset": 0.1, "noise_offset_random": True},
            {"ss_noise_offset": "0.1", "ss_noise_offset_random_strength": "True"},
        ),
        (
            {"multires_noise_iterations": 6},
            {"ss_multires_noise_iterations": "6", "ss_multires_noise_discount": "0.3"},
        ),
        (
            {"ip_noise_gamma": 0.1, "ip_noise_gamma_random": True},
            {"ss_ip_noise_gamma": "0.1", "ss_ip_noise_gamma_random_strength": "True"},
        ),
        ({"prior_loss_weight": 0.5}, {"ss_prior_loss_weight": "0.5"}),
    ],
)
def test_an_objective_is_told_as_sd_scripts_would(facts, metadata, objective, told):
    facts["settings"]["train"]["objective"] |= objective
    found = build(facts, "cats", private=False)
    assert found.items() >= told.items()
    # And of all the rest nothing else than before.
    aside = {*told, "lorakiln_settings", "ss_min_snr_gamma"}
    assert {key: value for key, value in found.items() if key not in aside} == {
        key: value for key, value in metadata.items() if key not in aside
    }


def test_zero_terminal_snr_is_told_where_it_was_trained_with(facts, metadata):
    assert not kohya_metadata.is_zero_terminal_snr(metadata)
    # The run's own word: a base may have such a schedule of itself.
    facts["zero_terminal_snr"] = True
    found = build(facts, "cats", private=False)
    assert found["ss_zero_terminal_snr"] == "True" and kohya_metadata.is_zero_terminal_snr(found)


def test_a_range_without_an_end_is_told(facts):
    facts["settings"]["train"]["objective"]["min_timestep"] = 300
    assert build(facts, "x", private=False)["modelspec.timestep_range"] == "300,1000"
    # As the run has recorded it, of a model with fewer.
    facts["timesteps"] = [300, 500, 500]
    assert build(facts, "x", private=False)["modelspec.timestep_range"] == "300,500"
    facts["timesteps"] = [0, 500, 500]
    assert "modelspec.timestep_range" not in build(facts, "x", private=False)


def test_parts_with_a_rate_of_their_own_are_told(facts):
    facts["settings"]["train"]["optimizer"]["part_lrs"] = {"up_blocks": 2e-4, "mid_block": 0.0}
    metadata = build(facts, "x", private=False)
    assert json.loads(metadata["ss_unet_lr"]) == {"": 1e-4, "up_blocks": 2e-4, "mid_block": 0.0}
    assert metadata["ss_learning_rate"] == "0.0001"


def test_more_than_75_tokens_are_told(facts, metadata):
    assert metadata["ss_max_token_length"] == "None"
    facts["settings"]["encode"]["max_tokens"] = 225
    assert build(facts, "x", private=False)["ss_max_token_length"] == "225"


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
    told = build(facts, "x", private=True)["ss_datasets"]
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
    told = build(facts, "x", private=False)
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
    hidden = json.loads(build(facts, "x", private=True)["ss_datasets"])[0]["subsets"][0]
    assert hidden.items() >= (rules | dict.fromkeys(words)).items()


def test_folders_with_rules_of_their_own_are_told_apart(facts):
    rows = [CaptionedRow(**row) for row in make_rows()]
    rules = SubsetRules(prefix="photo of", flip=True, captions={"shuffle": True, "keep_tags": 1})
    rows[0] = rows[0].changed(rules=rules)
    told = kohya_metadata.build_metadata(RunFacts(**facts), rows, "cats", private=False)
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
    private = kohya_metadata.build_metadata(RunFacts(**facts), rows, "cats", private=True)
    assert "photo of" not in "".join(private.values())


def test_pictures_of_sizes_of_their_own_are_a_dataset_each(facts):
    rows = [CaptionedRow(**row) for row in make_rows()]
    whole = json.loads(kohya_metadata.build_metadata(RunFacts(**facts), rows, "cats", private=False)["ss_datasets"])[0]
    large = PictureRules(resolution=[64, 48], bucket={"no_upscale": True, "max": 128}, alpha_mask=True)
    rows[0] = rows[0].changed(pictures=large, repeats=2, rules=SubsetRules(augment={"crop": "random"}))
    facts["dataset"]["pictures"], facts["held_out"] = len(rows), 0
    told = kohya_metadata.build_metadata(RunFacts(**facts), rows, "cats", private=False)
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
    told = kohya_metadata.build_metadata(RunFacts(**facts), rows, "cats", private=False)
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
    told = kohya_metadata.build_metadata(RunFacts(**facts), rows, "cats", private=False)
    assert (told["ss_num_epochs"], told["ss_epoch"]) == ("3", "3")


def test_the_model_standard_and_our_own_keys(metadata, facts):
    spec = {key.removeprefix("modelspec."): value for key, value in metadata.items() if key.startswith("modelspec.")}
    assert spec == {
        "sai_model_spec": "1.0.1",
        "architecture": "stable-diffusion-v1/lora",
        "implementation": "diffusers",
        "title": "cats",
        "resolution": "32x32",
        "prediction_type": "epsilon",
        "encoder_layer": "2",
        "trigger_phrase": "sks",
    }
    assert metadata["lorakiln_version"] == __version__
    assert json.loads(metadata["lorakiln_libraries"]) == {"torch": "2.13.0"}
    assert metadata["lorakiln_dataset_hash"] == facts["dataset"]["hash"]
    assert metadata["lorakiln_base_hash"] == facts["base"]["hash"]
    settings = json.loads(metadata["lorakiln_settings"])
    assert settings["encode"] == facts["settings"]["encode"]
    assert "tracker" not in settings["train"]


def test_private_leaves_folders_captions_and_settings_out(metadata, facts):
    private = build(facts, "cats", private=True)
    assert set(metadata) - set(private) == {"ss_dataset_dirs", "ss_tag_frequency", "lorakiln_settings"}
    assert not [key for key, value in private.items() if "secret_folder" in value or "treasure" in value]


def test_hashes_are_those_of_the_files_bytes(tmp_path):
    # More than 0x110000 bytes, so that the legacy hash has what it reads.
    tensors = {"a.alpha": torch.tensor(1.0), "b.lora_down.weight": torch.arange(400_000, dtype=torch.float32)}
    found = kohya_metadata.add_hashes({"ss_steps": "1", "modelspec.title": "x"}, tensors)
    assert not list(tmp_path.iterdir())
    save_tensors(tmp_path / "final.safetensors", tensors, found)
    assert load_tensors(tmp_path / "final.safetensors")[1] == found
    body = b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))
    assert (tmp_path / "final.safetensors").read_bytes().endswith(body)
    assert found["sshs_model_hash"] == hashlib.sha256(body).hexdigest()
    assert found["modelspec.hash_sha256"] == "0x" + found["sshs_model_hash"]
    # The file with the ss_* keys alone, put together by hand.
    header = {
        "__metadata__": {"ss_steps": "1"},
        "a.alpha": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        "b.lora_down.weight": {"dtype": "F32", "shape": [400_000], "data_offsets": [4, 1_600_004]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    whole = struct.pack("<Q", len(text)) + text + body
    assert found["sshs_legacy_hash"] == hashlib.sha256(whole[0x100000:0x110000]).hexdigest()[:8]
