"""Settings that would be refused beside others are settled when a config is imported, and said."""

import json
import shutil

import pytest
import torch
import yaml
from transformers import get_wsd_schedule

from lorakiln.cli import main
from lorakiln.optim.schedules import make_factor
from lorakiln.tools.other_configs.translation import translate_file

KOHYA = """network_module = "networks.lora"
pretrained_model_name_or_path = "{base}"
unet_lr = 1e-4
text_encoder_lr = {encoders}
lr_scheduler = "{schedule}"
lr_warmup_steps = {warmup}
max_train_steps = 400
optimizer_type = "{optimizer}"
"""
USUAL = {"base": "a/b", "encoders": "5e-5", "schedule": "cosine", "warmup": 0, "optimizer": "AdamW"}


def import_toml(tmp_path, **given):
    (tmp_path / "a.toml").write_text(KOHYA.format(**USUAL | given))
    return translate_file(tmp_path / "a.toml")[1]


def import_json(tmp_path, **given):
    onetrainer = {"training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE", **given}
    (tmp_path / "a.json").write_text(json.dumps(onetrainer))
    return translate_file(tmp_path / "a.json")[1]


def import_command(tmp_path, script, options):
    (tmp_path / "a.sh").write_text(f"accelerate launch {script} {options}")
    return translate_file(tmp_path / "a.sh")[1]


def list_left(imported):
    return {name: value for name, value, _ in imported.left}


def test_a_warmup_that_is_longer_than_the_training_has_the_rates_that_it_has_there(tmp_path, compose_imported):
    imported = import_toml(tmp_path, warmup=500)
    train = compose_imported(imported, "prepare.dataset=mine").train
    factor = make_factor(train.scheduler, train.total_steps)
    for ours, theirs in ((train.optimizer.lr, 1e-4), (train.text_encoders.lr, 5e-5)):
        # On a straight line towards step 500, which is never reached.
        assert [ours * factor(step) for step in (0, 100, 399)] == pytest.approx([0, theirs / 5, theirs * 399 / 500])
    assert "every rate 0.8 of what is said" in "\n".join(imported.decided)
    fits = import_toml(tmp_path, warmup=400)
    assert fits.settings["train.scheduler.warmup_steps"] == 400 and fits.settings["train.optimizer.lr"] == 1e-4


def test_rates_of_words_and_of_blocks_are_shortened_too(tmp_path):
    (tmp_path / "a.toml").write_text(
        KOHYA.format(**USUAL | {"warmup": 800}) + 'network_args = ["mid_lr_weight=0.5", "up_lr_weight=1"]\n'
    )
    settings = translate_file(tmp_path / "a.toml")[1].settings
    assert settings["train.optimizer.part_lrs"] == {"mid_block": 0.25e-4, "up_blocks": 0.5e-4}


def test_a_warmup_beside_epochs_says_how_many_pictures_it_takes(tmp_path):
    told = "\n".join(import_json(tmp_path, epochs=10, batch_size=4).decided)
    # 10 epochs of 80 pictures in batches of 4 are 200 steps.
    assert "train.scheduler.warmup_steps is 200" in told and "10 epochs of fewer than 80 pictures" in told
    plain = import_json(tmp_path, epochs=10, batch_size=4, learning_rate_warmup_steps=0.1)
    assert "fewer than" not in "\n".join(plain.decided)


@pytest.mark.parametrize(
    ("base", "optimizer", "encoders", "parts", "rates"),
    [
        # An encoder with the rate 0 is none that is trained.
        ("a/b", "AdamW", "0.0", "absent", {}),
        ("xl", "AdamW", "[1e-5, 0]", ["unet", "text_encoder"], {"lr": 1e-5}),
        ("xl", "AdamW", "[0, 1e-5]", ["unet", "text_encoder_2"], {"lr": 1e-5}),
        ("xl", "AdamW", "[0, 0]", ["unet"], {}),
        ("xl", "AdamW", "[1e-5]", ["unet", "text_encoder", "text_encoder_2"], {"lr": 1e-5}),
        (
            "xl",
            "AdamW",
            "[1e-5, 2e-5]",
            ["unet", "text_encoder", "text_encoder_2"],
            {"lr": 1e-5, "own": {"text_encoder_2": {"lr": 2e-5}}},
        ),
        # Prodigy finds one rate for all that it moves.
        ("xl", "Prodigy", "[1e-5, 0]", ["unet", "text_encoder"], {}),
        (
            "xl",
            "Adafactor",
            "[1e-5, 2e-5]",
            ["unet", "text_encoder", "text_encoder_2"],
            {},
        ),
    ],
)
def test_each_encoders_rate(tmp_path, compose_imported, base, optimizer, encoders, parts, rates):
    imported = import_toml(tmp_path, base=base, optimizer=optimizer, encoders=encoders)
    found, section = imported.settings, "train.text_encoders."
    assert found.get("train.parts", "absent") == parts
    assert {name.removeprefix(section): one for name, one in found.items() if name.startswith(section)} == rates
    # What is set aside is told.
    assert ("train.text_encoders.lr" in list_left(imported)) == (optimizer != "AdamW")
    compose_imported(imported, "prepare.dataset=mine")


def test_onetrainers_adafactor_finds_one_rate_too(tmp_path, compose_imported):
    encoders = {"text_encoder": {"learning_rate": 1e-5}, "text_encoder_2": {"learning_rate": 0.0}}
    word = {"placeholder": "foxx", "train": True, "initial_embedding_text": "fox"}
    optimizer = {"optimizer": "ADAFACTOR", "relative_step": True}
    imported = import_json(
        tmp_path,
        **encoders,
        additional_embeddings=[word],
        embedding_learning_rate=1e-3,
        optimizer=optimizer,
        learning_rate_scheduler="COSINE",
    )
    train = compose_imported(imported, "prepare.dataset=mine").train
    assert (train.optimizer.lr, train.scheduler.kind, train.tokens["foxx"].lr) == (1.0, "constant", None)
    assert [train.text_encoders.choose(name).lr for name in encoders] == [None, 0.0]
    assert list_left(imported) == {"train.text_encoders.own.text_encoder.lr": 1e-5, "train.tokens.foxx.lr": 1e-3}


def test_blocks_rates_are_left_where_one_is_found(tmp_path, compose_imported):
    (tmp_path / "a.toml").write_text(
        KOHYA.format(**USUAL | {"optimizer": "Prodigy"}) + 'network_args = ["mid_lr_weight=0.5"]\n'
    )
    imported = translate_file(tmp_path / "a.toml")[1]
    assert list_left(imported)["train.optimizer.part_lrs"] == {"mid_block": 0.5e-4}
    compose_imported(imported, "prepare.dataset=mine")


def test_a_rate_of_encoders_that_are_not_trained_is_left(tmp_path, compose_imported):
    options = "--instance_data_dir a --instance_prompt b --text_encoder_lr 1e-5"
    imported = import_command(tmp_path, "train_dreambooth_lora_sdxl.py", options)
    assert list_left(imported) == {"train.text_encoders.lr": 1e-5}
    compose_imported(imported)
    trained = import_command(tmp_path, "train_dreambooth_lora_sdxl.py", f"{options} --train_text_encoder")
    assert trained.settings["train.text_encoders.lr"] == 1e-5 and not trained.left


def test_an_experiment_that_would_be_refused_is_written_and_said(tmp_path, monkeypatch, capsys):
    shutil.copytree("conf", tmp_path / "conf")
    (tmp_path / "a.toml").write_text(KOHYA.format(**USUAL) + "network_dim = 4096000\n")
    monkeypatch.chdir(tmp_path)
    assert main(["import", "a.toml", "--name", "big"]) == 1
    told = capsys.readouterr()
    assert "big.yaml: is written, and would be refused" in told.err and "train.adapter.rank" in told.err
    assert "Traceback" not in told.err and "python -m train" not in told.out
    experiment = yaml.safe_load((tmp_path / "conf/experiment/big.yaml").read_text())
    assert experiment["train"]["adapter"]["rank"] == 4096000
    (tmp_path / "a.toml").write_text(KOHYA.format(**USUAL))
    assert main(["import", "a.toml", "--name", "big", "--overwrite"]) == 0
    assert "python -m train +experiment=big prepare.dataset=NAME" in capsys.readouterr().out


def list_rates_of_transformers(steps, **given):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_wsd_schedule(optimizer, **given)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


def test_what_is_stable_decays_as_sd_scripts_has_it_or_not_at_all(tmp_path, compose_imported):
    def list_rates(**given):
        (tmp_path / "a.json").write_text(
            json.dumps({"network_module": "networks.lora", "max_train_steps": 40, **given})
        )
        scheduler = compose_imported(translate_file(tmp_path / "a.json")[1], "prepare.dataset=mine").train.scheduler
        factor = make_factor(scheduler, 40)
        return [factor(step) for step in range(40)]

    given = {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 5}
    expected = list_rates_of_transformers(40, num_warmup_steps=5, num_stable_steps=25, num_decay_steps=10)
    assert list_rates(**given, lr_decay_steps=10) == pytest.approx(expected)
    assert list_rates(**given, lr_decay_steps=0.25) == pytest.approx(expected)
    assert list_rates(**given)[5:] == [1] * 35
