"""What diffusers' scripts do where a command line does not say it."""

import pytest

from lorakiln.tools.other_configs.translation import translate_file

XL = "--pretrained_model_name_or_path x/sdxl"


def import_command(tmp_path, command):
    (tmp_path / "go.sh").write_text(f"accelerate launch {command}")
    return translate_file(tmp_path / "go.sh")[1]


@pytest.mark.parametrize(
    ("command", "epochs", "batch", "rate", "decay"),
    [
        ("train_text_to_image_lora.py --seed 1", 100, 16, 1e-4, 0.01),
        ("train_dreambooth_lora.py --seed 1", 1, 4, 5e-4, 0.01),
        ("train_dreambooth_lora_sdxl.py --seed 1", 1, 4, 1e-4, 1e-4),
        ("train_dreambooth_lora_sdxl.py --adam_weight_decay 0.1", 1, 4, 1e-4, 0.1),
    ],
)
def test_the_scripts_own(tmp_path, command, epochs, batch, rate, decay, compose_imported):
    train = compose_imported(import_command(tmp_path, command)).train
    assert (train.epochs, train.batch_size, train.optimizer.lr) == (epochs, batch, rate)
    assert (train.optimizer.weight_decay, train.adapter.rank, train.scheduler.warmup_steps) == (decay, 4, 0)


@pytest.mark.parametrize(
    ("options", "warmup", "left"),
    [
        ("--lr_scheduler cosine", 500, []),
        ("--lr_scheduler cosine --lr_warmup_steps=0", 0, []),
        ("--lr_scheduler constant --lr_warmup_steps 100", "absent", ["--lr_warmup_steps"]),
        ("--lr_scheduler constant_with_warmup --lr_warmup_steps 100", 100, []),
    ],
)
def test_every_schedule_but_the_constant_one_has_a_warmup(tmp_path, options, warmup, left):
    imported = import_command(tmp_path, f"train_text_to_image_lora.py {options}")
    assert imported.settings.get("train.scheduler.warmup_steps", "absent") == warmup
    assert [name for name, _, _ in imported.left] == left


@pytest.mark.parametrize(
    ("command", "rate"),
    [
        (f"train_dreambooth_lora_sdxl.py {XL} --train_text_encoder", 5e-6),
        (f"train_dreambooth_lora_sdxl.py {XL} --train_text_encoder --text_encoder_lr 1e-5", 1e-5),
        (f"train_dreambooth_lora_sdxl.py {XL} --train_text_encoder --optimizer prodigy --learning_rate 1", "absent"),
        ("train_dreambooth_lora.py --train_text_encoder", "absent"),
    ],
)
def test_a_text_encoders_rate(tmp_path, command, rate):
    assert import_command(tmp_path, command).settings.get("train.text_encoders.lr", "absent") == rate


def test_pictures_of_the_class_have_a_folder(tmp_path, compose_imported):
    options = "--instance_prompt 'a sks dog' --class_prompt 'a dog' --class_data_dir ./dogs --num_class_images 100"
    command = f"train_dreambooth_lora.py {options}"
    imported = import_command(tmp_path, f"{command} --with_prior_preservation --prior_loss_weight 0.5")
    assert "`img/1_a sks dog`, and ./dogs into `reg/1_a dog`" in "\n".join(imported.decided) and not imported.left
    assert compose_imported(imported).train.objective.prior_loss_weight == 0.5
    # Without the switch the script leaves them aside.
    without = import_command(tmp_path, command)
    assert "reg/" not in "\n".join(without.decided)
    assert {name for name, _, _ in without.left} == {"--class_prompt", "--class_data_dir", "--num_class_images"}
