"""Configs as people have them become experiments that compose, and nothing of them is lost without a word."""

import json
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


def test_pictures_in_kohyas_folders_stay_in_them(tmp_path):
    (tmp_path / "img/12_zyx fox").mkdir(parents=True)
    command = (
        f"python train_network.py --train_data_dir '{tmp_path}/img' --reg_data_dir '{tmp_path}/reg' --output_name fox "
        "--network_module networks.lora"
    )
    (tmp_path / "go.sh").write_text(command)
    _, imported = translate_file(tmp_path / "go.sh")
    assert imported.choices["caption"] == "none" and "train.repeats" not in imported.settings
    told = "\n".join(imported.decided)
    assert "the folders 12_zyx fox go there as they are" in told and f"{tmp_path}/reg belong into `reg`" in told
    # Where captions stand, kohya does not look at the words.
    (tmp_path / "img/12_zyx fox/a.txt").write_text("a fox")
    _, imported = translate_file(tmp_path / "go.sh")
    assert "class tokens" not in "\n".join(imported.decided)


@pytest.mark.parametrize(
    ("more", "parts", "own"),
    [
        ("", ["unet", "text_encoder", "text_encoder_2"], {}),
        ("--network_train_unet_only --text_encoder_lr 1e-5", "absent", {}),
        ("--text_encoder_lr 0", "absent", {}),
        ("--network_train_text_encoder_only --text_encoder_lr 1e-5", ["text_encoder", "text_encoder_2"], {"lr": 1e-5}),
        (
            "--text_encoder_lr 1e-5 2e-5",
            ["unet", "text_encoder", "text_encoder_2"],
            {"lr": 1e-5, "own": {"text_encoder_2": {"lr": 2e-5}}},
        ),
    ],
)
def test_kohya_trains_text_encoders_too_if_not_told_otherwise(tmp_path, more, parts, own, compose_imported):
    (tmp_path / "go.sh").write_text(f"python sdxl_train_network.py --network_module networks.lora {more}")
    _, imported = translate_file(tmp_path / "go.sh")
    assert imported.settings.get("train.parts", "absent") == parts
    given = {name.rpartition(".")[2]: one for name, one in imported.settings.items() if ".text_encoders." in name}
    assert given == own
    train = compose_imported(imported).train
    assert (train.parts or "absent") == parts


@pytest.mark.parametrize(
    ("rates", "parts"),
    [
        ((1e-4, 5e-5), ["unet", "text_encoder"]),
        ((1e-4, 0), "absent"),
        ((0, 5e-5), ["text_encoder"]),
    ],
)
def test_the_gui_leaves_out_what_has_no_rate(tmp_path, rates, parts):
    given = {"LoRA_type": "Standard", "unet_lr": rates[0], "text_encoder_lr": rates[1]}
    (tmp_path / "a.json").write_text(json.dumps({**given, "stop_text_encoder_training": 40}))
    _, imported = translate_file(tmp_path / "a.json")
    assert imported.settings.get("train.parts", "absent") == parts
    assert imported.settings.get("train.text_encoders.stop", "absent") == ("absent" if parts == "absent" else 0.4)


def test_settings_that_a_kind_has_not_are_told(tmp_path):
    (tmp_path / "a.toml").write_text(
        'network_dim = 4\nnetwork_module = "lycoris.kohya"\nnetwork_args = ["algo=ia3", "module_dropout=0.1"]\n'
        'optimizer_type = "SGDNesterov"\noptimizer_args = ["betas=0.9,0.99", "momentum=0.8"]\n'
    )
    _, imported = translate_file(tmp_path / "a.toml")
    told = {name: why for name, _, why in imported.left}
    assert told["--optimizer_args betas"] == "train/optimizer=sgd has no such setting"
    assert imported.settings["train.optimizer.momentum"] == 0.8


def test_several_folders_are_read_from_the_dataset_config_itself(tmp_path):
    (tmp_path / "a.toml").write_text(
        '[[datasets]]\nbatch_size = 2\n[[datasets.subsets]]\nimage_dir = "reg"\nis_reg = true\n'
        '[[datasets.subsets]]\nimage_dir = "mine"\nnum_repeats = 3\nflip_aug = true\n'
    )
    (tmp_path / "go.sh").write_text(
        "python train_network.py --network_module networks.lora --dataset_config a.toml --prior_loss_weight 0.5 "
        "--gradient_accumulation_steps 4"
    )
    _, imported = translate_file(tmp_path / "go.sh")
    settings = imported.settings
    assert (settings["prepare.dataset"], settings["encode.flip"]) == ("mine", True)
    assert (settings["train.batch_size"], settings["train.micro_batch"]) == (8, 2)
    assert settings["train.objective.prior_loss_weight"] == 0.5
    # How often each is shown is in the file that the pictures lie beside.
    assert "train.repeats" not in settings and not imported.left
    assert "the folders reg, mine belong into the dataset's own, and this file beside them" in "\n".join(
        imported.decided
    )


@pytest.mark.parametrize(("steps", "batches", "told"), [(4, (2, 3), ["2, 3"]), (1, (2, 3), []), (4, (2, 2), [])])
def test_own_batches_of_datasets_are_not_gathered(tmp_path, steps, batches, told):
    """sd-scripts sums the gradients of several batches, of whichever dataset; here a step is one batch."""
    (tmp_path / "a.toml").write_text(
        "".join(f'[[datasets]]\nbatch_size = {one}\n[[datasets.subsets]]\nimage_dir = "d{one}"\n' for one in batches)
    )
    (tmp_path / "go.sh").write_text(
        f"python train_network.py --network_module networks.lora --dataset_config a.toml "
        f"--gradient_accumulation_steps {steps}"
    )
    _, imported = translate_file(tmp_path / "go.sh")
    assert [value for name, value, _ in imported.left if name == "[[datasets]] batch_size"] == told
