"""What sd-scripts does if not told otherwise, and what its folders, networks and batches are here."""

import json

import pytest

from lorakiln.tools.other_configs.translation import translate_file


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
