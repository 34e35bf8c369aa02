"""Configs as people have them become experiments that compose, and nothing of them is lost without a word."""

from pathlib import Path

import pytest
import yaml

from lorakiln.cli import main
from lorakiln.tools.other_configs.translation import translate_file

CONFIGS = Path(__file__).parent / "configs"
# What a reader of the config expects to find here.
EXPECTED = {
    "character.toml": {
        "model": "sd15",
        "train/optimizer": "adamw8bit",
        "train/scheduler": "cosine_with_restarts",
        "prepare.resolution": 640,
        "prepare.dataset": "mira_v2",
        "encode.clip_skip": 2,
        "train.adapter.alpha": 16,
        "train.adapter.max_norm": 1.0,
        "train.batch_size": 4,
        "train.micro_batch": 2,
        "train.epochs": 10,
        "train.save_every": "1 epoch",
        "train.scheduler.cycles": 3,
        "encode.captions.shuffle": True,
        "encode.captions.keep_tags": 1,
        "train.parts": "absent",
    },
    "sdxl.sh": {
        "model": "sdxl",
        "train/adapter": "lokr",
        "train/optimizer": "prodigy",
        "train.adapter.factor": 8,
        "train.optimizer.lr": 1.0,
        "train.optimizer.d_coef": 2,
        "train.scheduler.warmup_fraction": 0.1,
        "train.max_grad_norm": None,
        "train.objective.multires_noise_iterations": 6,
    },
    "gui.json": {
        "train.scheduler.warmup_fraction": 0.1,
        "train.objective.ip_noise_gamma": 0.1,
        "train.epochs": 5,
        "encode.clip_skip": 1,
        "encode.flip": True,
        "prepare.dataset": "my_mug",
        "train.parts": ["unet", "text_encoder"],
        "train.text_encoders.lr": 5e-5,
    },
    "windows.bat": {
        "train/objective": "huber",
        "train.objective.huber_schedule": "snr",
        "train.adapter.targets": "locon",
        "train.adapter.rate_ratio": 16,
        "train.adapter.rank_dropout": 0.1,
        "train.adapter.alpha": 1,
        "prepare.bucket.enable": False,
    },
    "vpred.toml": {"model": "sd21_v", "train.objective.scale_v_pred_loss_like_noise_pred": True},
    "dataset.toml": {
        "prepare.bucket.enable": True,
        "prepare.bucket.no_upscale": True,
        "train.batch_size": 3,
        "train.repeats": "absent",
        "train.steps": 1600,
        "train.adapter.rank": 4,
        "train.validation.fraction": 0.0,
        "caption": "none",
        "caption.class_tokens": "absent",
        "encode.captions.shuffle": True,
    },
    "diffusers.sh": {
        "train/tracker": "wandb",
        "train.adapter.alpha": 8,
        "train.batch_size": 4,
        "train.micro_batch": 1,
        "train.epochs": 100,
        "train.samples.seeds": [0, 1, 2, 3],
        "train.objective.min_snr_gamma": 5.0,
    },
    "dreambooth.txt": {
        "model": "sdxl",
        "train/adapter": "dora",
        "train.optimizer.betas": [0.9, 0.99],
        "train.optimizer.beta3": 0.99,
        "caption.trigger": "a photo of sks dog",
        "train.parts": ["unet", "text_encoder", "text_encoder_2"],
        "train.text_encoders.lr": "absent",
    },
    "onetrainer.json": {
        "train.tokens": {"<light>": {"init": "lighthouse", "vectors": 2, "lr": 0.003, "max_norm": None}},
        "train/scheduler": "cosine",
        "train/adapter": "dora",
        "train.objective.noise_offset": 0.03,
        "train.adapter.targets": ["*attn*", "*ff*"],
        "train.scheduler.warmup_steps": 200,
    },
    "onetrainer_flat.json": {
        "model.vae": "models/fox_vae",
        "prepare.dataset": "fox",
        "encode.clip_skip": 2,
        "train/optimizer": "lion",
        "train.optimizer.betas": [0.95, 0.98],
        "train.optimizer.weight_decay": 0.02,
        "train.optimizer.lr": 0.0002,
        "train.parts": ["unet", "text_encoder"],
        "train.text_encoders.own": {"text_encoder": {"lr": 5e-5}},
        "train.text_encoders.stop": 0.25,
        "train.objective.min_snr_gamma": 4.0,
        "train.repeats": 4,
        "train.tokens": "absent",
        "train.trainer.gradient_checkpointing": True,
    },
    "ai_toolkit.yaml": {
        "train.ema.decay": 0.99,
        "train.keep_last": 4,
        "train.objective.caption_dropout": 0.05,
        "caption.trigger": "p3r5on",
        "prepare.resolution": 1024,
        "encode.captions.shuffle": True,
    },
    "loha.toml": {
        "model": "sd15",
        "train/adapter": "loha",
        "train/objective": "mse",
        "train/optimizer": "adafactor",
        "train/scheduler": "wsd",
        "train/tracker": "tensorboard",
        "train.adapter.targets": "kohya",
        "train.adapter.module_dropout": 0.05,
        "train.optimizer.relative_step": False,
        "train.scheduler.decay_fraction": 0.3,
        "train.keep_last": 3,
        "train.objective.huber_schedule": "absent",
        "export.precision": "fp32",
        "caption": "none",
    },
    "easy.toml": {
        "model": "sdxl",
        "prepare.dataset": "harbour",
        "prepare.bucket.max": 1536,
        "encode.flip": True,
        "encode.max_tokens": 150,
        "encode.captions.keep_tags": 1,
        "train/adapter": "loha",
        "train.adapter.targets": "kohya",
        "train.batch_size": 3,
        "train.repeats": 3,
        "train.epochs": 12,
        "train/optimizer": "came",
        "train.optimizer.betas": [0.9, 0.99, 0.999],
        "train/scheduler": "rex",
        "train.scheduler.bend": 0.75,
        "train.scheduler.warmup_fraction": 0.05,
        "train.scheduler.min_lr_ratio": pytest.approx(0.1),
        "train.objective.min_snr_gamma": 6,
        "train.save_every": "2 epochs",
    },
    "lokr_gui.json": {
        "model": "sdxl",
        "train/adapter": "lokr",
        "train.adapter.factor": 6,
        "train.adapter.targets": "locon",
        "train.adapter.rank_dropout": 0.1,
        "train.adapter.rank_pattern": "absent",
        "train.steps": 1600,
        "train.epochs": "absent",
        "train.optimizer.d_coef": 0.8,
        "train.objective.huber_schedule": "absent",
        "train.objective.multires_noise_discount": "absent",
        "encode.clip_skip": "absent",
    },
    "variables.sh": {
        "model": "sdxl",
        "model.path": "stabilityai/stable-diffusion-xl-base-1.0",
        "prepare.dataset": "teapot",
        "train.adapter.rank": 4,
        "train/scheduler": "absent",
        "caption": "none",
        "caption.trigger": "a photo of sks teapot",
    },
}
# What is said of each that has no counterpart: by a part of its name.
LEFT = {
    "character.toml": [],
    "sdxl.sh": ["--full_bf16", "--persistent_data_loader_workers"],
    "gui.json": [],
    "windows.bat": ["--zero_terminal_snr"],
    "vpred.toml": ["--network_args block_dims", "--weighted_captions"],
    "dataset.toml": [],
    "diffusers.sh": ["--caption_column"],
    "dreambooth.txt": [],
    "onetrainer.json": ["concepts", "caption_unknown", "additional_embeddings.train"],
    "onetrainer_flat.json": [],
    "ai_toolkit.yaml": ["datasets.resolution"],
    "loha.toml": ["--masked_loss", "--network_args conv_alpha", "--network_args conv_dim"],
    "easy.toml": ["train.adapter.dropout"],
    "lokr_gui.json": ["--clip_skip"],
    "variables.sh": ["--push_to_hub", "train/scheduler"],
}


def test_the_table_names_every_config_that_is_here():
    assert EXPECTED.keys() == LEFT.keys() == {path.name for path in CONFIGS.iterdir()}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_config_says_is_what_the_experiment_says(name):
    _, imported = translate_file(CONFIGS / name)
    found = {**imported.choices, **imported.settings}
    assert {key: found.get(key, "absent") for key in EXPECTED[name]} == EXPECTED[name]
    assert sorted({told for told, _, _ in imported.left}) == sorted(LEFT[name])
    assert all(why for _, _, why in imported.left)


# SomethingNew is no optimizer, which is told when the experiment composes.
@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - {"vpred.toml"}))
def test_the_experiment_composes(name, compose_imported):
    _, imported = translate_file(CONFIGS / name)
    config = compose_imported(imported).model_dump()
    for path, value in imported.settings.items():
        at = config
        for part in path.split("."):
            at = at[part]
        assert holds(at, value), path


def holds(found, told):
    """Whether what is set is what was told, and of a section what was told of it."""
    if isinstance(told, dict):
        return found.keys() >= told.keys() and all(holds(found[name], one) for name, one in told.items())
    if isinstance(told, list):
        return len(found) == len(told) and all(map(holds, found, told))
    return found == told


def test_the_command_writes_an_experiment_and_says_what_it_left(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    assert main(["import", str(CONFIGS / "character.toml")]) == 0
    told = capsys.readouterr().out
    assert "python -m train +experiment=mira_v2" in told
    assert "left out" not in told
    assert "decided   train.batch_size is 2 x 2" in told
    written = (tmp_path / "conf/experiment/mira_v2.yaml").read_text()
    assert written.startswith("# @package _global_\n# Made of character.toml, a config of sd-scripts.\n")
    # Again, it is there already, and stays.
    assert main(["import", str(CONFIGS / "character.toml")]) == 1
    assert (tmp_path / "conf/experiment/mira_v2.yaml").read_text() == written
    assert main(["import", str(CONFIGS / "vpred.toml")]) == 0
    assert "left out  --weighted_captions True: prompts have weights, captions have not" in capsys.readouterr().out
    assert main(["import", str(CONFIGS / "gui.json"), "--name", "Mira v2", "--overwrite"]) == 0
    assert "kohya_ss" in (tmp_path / "conf/experiment/mira_v2.yaml").read_text()
    assert main(["import", str(CONFIGS / "sdxl.sh"), "--name", "other"]) == 0
    assert "left out  --full_bf16 True: the adapter is float32 always" in capsys.readouterr().out


def test_the_command_asks_for_pictures_that_the_config_does_not_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "preset.json").write_text('{"LoRA_type": "Standard", "network_dim": 8}')
    assert main(["import", "preset.json"]) == 0
    assert capsys.readouterr().out.endswith("python -m train +experiment=preset prepare.dataset=NAME\n")


def test_without_a_checkout_the_experiment_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["import", str(CONFIGS / "windows.bat")]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["train"]["adapter"]["rank"] == 8
    assert not list(tmp_path.iterdir())
