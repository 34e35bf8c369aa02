"""The TOML of LoRA_Easy_Training_Scripts' window, whose sections have sections."""

import tomllib

import pytest

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.reading import read_config
from lorakiln.tools.other_configs.sd_scripts.easy import read_easy
from lorakiln.tools.other_configs.translation import translate_file

SHORT = """
[[subsets]]
image_dir = "pictures/boat"
num_repeats = 1
[general_args.args]
pretrained_model_name_or_path = "base.safetensors"
max_train_steps = 100
[general_args.dataset_args]
resolution = [512, 512]
batch_size = 2
"""
COSINE = "LoraEasyCustomOptimizer.CustomOptimizers.CosineAnnealingWarmupRestarts"


@pytest.fixture
def import_toml(tmp_path):
    def import_it(more):
        (tmp_path / "a.toml").write_text(SHORT + more)
        return translate_file(tmp_path / "a.toml")[1]

    return import_it


def test_what_is_empty_or_0_says_nothing_and_lists_are_joined():
    text = """
    [network_args.args]
    network_dim = 8
    unet_lr = 0.0
    fa = true
    [network_args.args.network_args]
    block_dims = [4, 8, 8]
    preset = ""
    """
    assert read_easy(tomllib.loads(text)) == {
        "network_dim": 8,
        "network_module": "networks.lora_fa",
        "network_args": {"block_dims": "4,8,8"},
        "dataset_config": {"general": {}, "datasets": [{"subsets": []}]},
    }


def test_cosine_with_restarts_falls_to_its_least_rate_and_cycle_by_cycle(import_toml, compose_imported):
    more = f"""
    [optimizer_args.args]
    learning_rate = 1e-3
    lr_scheduler_type = "{COSINE}"
    lr_scheduler_num_cycles = 4
    warmup_ratio = 0.1
    [optimizer_args.args.lr_scheduler_args]
    min_lr = 1e-4
    gamma = 0.8
    strange = 1
    """
    imported = import_toml(more)
    scheduler = compose_imported(imported).train.scheduler
    assert (scheduler.kind, scheduler.cycles, scheduler.cycle_decay) == ("cosine_with_restarts", 4, 0.8)
    assert scheduler.min_lr_ratio == pytest.approx(0.1) and scheduler.warmup_fraction == 0.1
    assert any("each cycle begins with a warm-up there" in one for one in imported.decided)
    assert [name for name, _, _ in imported.left] == ["--lr_scheduler_args strange"]


def test_a_schedule_of_another_class_is_left_out_by_name(import_toml):
    more = '[optimizer_args.args]\nlr_scheduler_type = "my.Own"\nlr_scheduler_args = {a = 1}\nlr_scheduler = "cosine"\n'
    imported = import_toml(more)
    assert [name for name, _, _ in imported.left] == ["--lr_scheduler_type", "--lr_scheduler_args"]
    assert "train/scheduler" not in imported.choices


def test_lycoris_dropout_is_the_adapters(import_toml):
    more = '[network_args.args.network_args]\nalgo = "locon"\ndropout = 0.2\nconv_dim = 8\n'
    settings = import_toml("[network_args.args]\nnetwork_dim = 8\n" + more).settings
    assert (settings["train.adapter.dropout"], settings["train.adapter.targets"]) == (0.2, "locon")


def test_a_word_alone(import_toml):
    words = '[textual_inversion_args.args]\ntoken_string = "mydog"\ninit_word = "dog"\nnum_vectors_per_token = 2\n'
    settings = import_toml('[train_mode]\ntrain_mode = "textual_inversion"\n' + words).settings
    assert settings["train.parts"] == [] and settings["train.tokens"] == {"mydog": {"init": "dog", "vectors": 2}}


def test_datasets_of_several_resolutions_stand_as_sd_scripts_has_them(tmp_path):
    text = '[general_args.args]\nseed = 1\n[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "a"\n'
    (tmp_path / "a.toml").write_text(text)
    assert translate_file(tmp_path / "a.toml")[1].settings["prepare.resolution"] == 512


def test_another_family_is_refused_by_its_section(import_toml):
    assert import_toml("[flux_args]\n").choices["model"] == "sd15"
    with pytest.raises(UserError, match="a family of models that is none here"):
        import_toml('[flux_args.args]\nae = "ae.safetensors"\n')


def test_a_flat_toml_is_sd_scripts_own(tmp_path):
    (tmp_path / "a.toml").write_text('[network_args]\nnetwork_dim = 4\nnetwork_args = ["conv_dim=2"]\n')
    assert read_config(tmp_path / "a.toml").program == "sd-scripts"
