"""What the kohya_ss GUI's configs mean, whose names and units are its own."""

import json

import pytest

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.translation import translate_file


def import_gui(tmp_path, **options):
    (tmp_path / "a.json").write_text(json.dumps({"LoRA_type": "Standard", **options}))
    return translate_file(tmp_path / "a.json")[1]


def test_quotes_are_the_command_lines(tmp_path):
    args = '"weight_decay=0.1" "betas=0.9,0.99"'
    imported = import_gui(tmp_path, optimizer="AdamW", optimizer_args=args)
    assert imported.settings["train.optimizer.weight_decay"] == 0.1
    assert imported.settings["train.optimizer.betas"] == [0.9, 0.99] and not imported.left


@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        ("Original", {"noise_offset": 0.05}),
        ("Multires", {"multires_noise_iterations": 6, "multires_noise_discount": 0.2}),
    ],
)
def test_noise_is_of_the_kind_that_is_chosen(tmp_path, kind, objective):
    given = {"noise_offset": 0.05, "multires_noise_iterations": 6, "multires_noise_discount": 0.2}
    imported = import_gui(tmp_path, noise_offset_type=kind, **given)
    found = {name.rpartition(".")[2]: one for name, one in imported.settings.items() if "objective" in name}
    assert found == objective


def test_its_sample_prompts_are_prompts_and_no_file(tmp_path, compose_imported):
    prompts = "# two of them\na fox --n blurry --w 512\n\na fox on a bicycle\n"
    imported = import_gui(tmp_path, sample_prompts=prompts, sample_every_n_epochs=1)
    assert compose_imported(imported).train.samples.prompts == ["a fox", "a fox on a bicycle"]
    assert "a file of them has their sizes and seeds" in "\n".join(imported.decided)


def test_numbers_of_a_web_page_are_whole(tmp_path, compose_imported):
    given = {
        "bucket_reso_steps": 64.0,
        "enable_bucket": True,
        "network_dim": 8.0,
        "seed": "1234",
        "max_resolution": "512,768",
    }
    config = compose_imported(import_gui(tmp_path, **given))
    assert (config.prepare.bucket.step, config.train.adapter.rank, config.train.seed) == (64, 8, 1234)
    assert config.prepare.resolution == 640


@pytest.mark.parametrize(
    ("given", "warmup"),
    [
        ({"lr_warmup": 10}, ("fraction", 0.1)),
        ({"lr_warmup": 10, "lr_warmup_steps": 50}, ("steps", 50)),
        ({"lr_warmup": 0, "lr_warmup_steps": "50"}, ("steps", 50)),
    ],
)
def test_a_warmup_is_a_percentage_or_steps(tmp_path, given, warmup):
    imported = import_gui(tmp_path, lr_scheduler="cosine", **given)
    found = [(name.rpartition("_")[2], one) for name, one in imported.settings.items() if "warmup" in name]
    assert found == [warmup]


def test_restarts_are_as_many_as_epochs_where_it_says_none(tmp_path):
    given = {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": "", "epoch": 6}
    assert import_gui(tmp_path, **given).settings["train.scheduler.cycles"] == 6


def test_rates_by_blocks_are_the_networks(tmp_path):
    given = {"down_lr_weight": "0.5,0.5", "unet_lr": 2e-4, "learning_rate": 1e-4}
    assert import_gui(tmp_path, **given).settings["train.optimizer.part_lrs"] == {"down_blocks": 1e-4}
    # Of LyCORIS' networks it leaves them aside too.
    assert "train.optimizer.part_lrs" not in import_gui(tmp_path, **given | {"LoRA_type": "LyCORIS/LoHa"}).settings


def test_arguments_are_those_of_the_kind(tmp_path, compose_imported):
    given = {"factor": -1, "constrain": 0.1, "rescaled": True, "use_tucker": True, "conv_dim": 8, "network_dim": 8}
    oft = import_gui(tmp_path, **given, LoRA_type="LyCORIS/Diag-OFT")
    assert (oft.choices["train/adapter"], oft.settings["train.adapter.rescale"]) == ("oft", True)
    assert [name for name, _, _ in oft.left] == ["--network_args use_tucker", "train.adapter.alpha"]
    assert compose_imported(oft).train.adapter.alpha == 8
    assert "train.adapter.factor" not in import_gui(tmp_path, **given, LoRA_type="LyCORIS/LoHa").settings


def test_nothing_is_left_out_without_a_word(tmp_path):
    given = {"lora_network_weights": "begun.safetensors", "stop_text_encoder_training_pct": 50, "new_knob": 3}
    imported = import_gui(tmp_path, **given, unet_lr=1e-4, text_encoder_lr=1e-5, num_processes=1, t5xxl_lr=1e-5)
    assert imported.settings["train.adapter.init_from"] == "begun.safetensors"
    assert imported.settings["train.text_encoders.stop"] == 0.5
    assert [(name, value) for name, value, _ in imported.left] == [("--new_knob", 3)]


@pytest.mark.parametrize("given", [{"flux1_checkbox": True}, {"LoRA_type": "Flux1 OFT"}, {"lumina_checkbox": True}])
def test_another_family_is_refused(tmp_path, given):
    with pytest.raises(UserError, match="a.json: trains a family of models that is none here"):
        import_gui(tmp_path, **given)


def test_a_zero_is_none_in_the_window_and_a_zero_among_its_additional_parameters(tmp_path, compose_imported):
    assert "train.max_grad_norm" not in import_gui(tmp_path, max_grad_norm=0).settings
    imported = import_gui(tmp_path, max_grad_norm=1, additional_parameters="--max_grad_norm=0 --network_alpha 4")
    train = compose_imported(imported).train
    assert (train.max_grad_norm, train.adapter.alpha) == (None, 4)
