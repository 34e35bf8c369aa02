"""What the metadata of a file of sd-scripts tell of its training."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lorakiln.tools.other_configs.translation import translate_file

METADATA = {
    "ss_network_module": "networks.lora",
    "ss_network_dim": "24",
    "ss_network_alpha": "12.0",
    "ss_network_args": '{"conv_dim": "8"}',
    "ss_learning_rate": "0.0001",
    "ss_unet_lr": "0.0002",
    "ss_text_encoder_lr": "None",
    "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.05,betas=(0.9, 0.99))",
    "ss_lr_scheduler": "cosine",
    "ss_lr_warmup_steps": "30",
    "ss_max_train_steps": "900",
    "ss_batch_size_per_device": "2",
    "ss_gradient_accumulation_steps": "3",
    "ss_num_train_images": "120",
    "ss_seed": "77",
    "ss_clip_skip": "2",
    "ss_resolution": "(768, 768)",
    "ss_min_snr_gamma": "5.0",
    "ss_noise_offset": "None",
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_sd_model_name": "dream.safetensors",
    "ss_output_name": "otter",
    "ss_dataset_dirs": '{"10_sks otter": {"n_repeats": 10, "img_count": 12}}',
}


@pytest.mark.parametrize(
    ("rates", "parts", "own"),
    [
        ("[5e-05, 5e-05]", ["unet", "text_encoder", "text_encoder_2"], {"lr": 5e-5}),
        (
            "[5e-05, 1e-05]",
            ["unet", "text_encoder", "text_encoder_2"],
            {"lr": 5e-5, "own": {"text_encoder_2": {"lr": 1e-5}}},
        ),
        ("[0.0, 1e-05]", ["unet", "text_encoder_2"], {"lr": 1e-5}),
        ("[0.0, 0.0]", ["unet"], {}),
        ("5e-05", ["unet", "text_encoder", "text_encoder_2"], {"lr": 5e-5}),
    ],
)
def test_rates_of_two_encoders_stand_there_as_a_list(tmp_path, rates, parts, own):
    metadata = {**METADATA, "ss_text_encoder_lr": rates}
    save_file({"lora_unet_x.alpha": torch.ones(())}, tmp_path / "otter.safetensors", metadata)
    settings = translate_file(tmp_path / "otter.safetensors")[1].settings
    section = "train.text_encoders."
    assert settings["train.parts"] == parts
    assert {name.removeprefix(section): one for name, one in settings.items() if name.startswith(section)} == own


def test_the_metadata_of_a_kohya_file_tell_its_settings(tmp_path):
    save_file({"lora_unet_x.alpha": torch.ones(())}, tmp_path / "otter.safetensors", METADATA)
    _, imported = translate_file(tmp_path / "otter.safetensors")
    expected = {
        "train.adapter.rank": 24,
        "train.adapter.alpha": 12.0,
        "train.adapter.targets": "locon",
        "train.optimizer.lr": 0.0002,
        "train.optimizer.weight_decay": 0.05,
        "train.optimizer.betas": [0.9, 0.99],
        "train.scheduler.warmup_steps": 30,
        "train.steps": 900,
        "train.batch_size": 6,
        "train.micro_batch": 2,
        "train.seed": 77,
        "encode.clip_skip": "absent",  # sd-scripts does not heed it for SDXL
        "prepare.resolution": 768,
        "prepare.dataset": "sks_otter",
        "train.repeats": 10,
        "train.objective.min_snr_gamma": 5.0,
    }
    assert {key: imported.settings.get(key, "absent") for key in expected} == expected
    assert imported.choices["model"] == "sdxl" and imported.choices["train/optimizer"] == "adamw8bit"


def test_a_recorded_dataset_config_is_read_as_one(tmp_path, compose_imported):
    subset = {"img_count": 12, "num_repeats": 10, "flip_aug": True, "shuffle_caption": True, "keep_tokens": 1}
    subset |= {"image_dir": "otter", "class_tokens": "sks otter", "is_reg": False, "enable_wildcard": False}
    dataset = {"batch_size_per_device": 3, "resolution": [768, 768], "enable_bucket": True, "subsets": [subset]}
    dataset |= {"min_bucket_reso": 256, "num_train_images": 120, "tag_frequency": {"otter": {"fur": 3}}}
    dataset |= {"is_dreambooth": True, "num_reg_images": 0, "bucket_info": {"buckets": {}}}
    told = {name: one for name, one in METADATA.items() if name not in ("ss_resolution", "ss_batch_size_per_device")}
    save_file(
        {"lora_unet_x.alpha": torch.ones(())}, tmp_path / "a.safetensors", told | {"ss_datasets": json.dumps([dataset])}
    )
    _, imported = translate_file(tmp_path / "a.safetensors")
    config = compose_imported(imported)
    assert (config.prepare.resolution, config.prepare.bucket.min, config.prepare.dataset) == (768, 256, "otter")
    assert (config.train.batch_size, config.train.micro_batch, config.train.repeats) == (9, 3, 10)
    assert (config.encode.flip, config.encode.captions.shuffle, config.encode.captions.keep_tags) == (True, True, 1)
    assert [name for name, _, _ in imported.left] == ["--clip_skip"]
