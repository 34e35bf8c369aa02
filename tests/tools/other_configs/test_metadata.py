"""What the metadata of a file of sd-scripts tell of its training."""

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
