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
