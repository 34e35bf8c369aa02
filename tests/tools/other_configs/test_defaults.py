"""What kohya's programs do where nothing is said is what the experiment does."""

import json

import pytest

from lorakiln.tools.other_configs.translation import translate_file

ABSENT = "absent"


def import_options(tmp_path, **options):
    (tmp_path / "a.json").write_text(json.dumps({"network_module": "networks.lora", "network_dim": 8, **options}))
    return translate_file(tmp_path / "a.json")[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # lion-pytorch, prodigyopt, dadaptation and schedulefree: no weight decay, and Prodigy's switches are off.
        ({"optimizer_type": "Lion"}, {"weight_decay": 0.0}),
        ({"optimizer_type": "PagedLion8bit", "optimizer_args": ["weight_decay=0.1"]}, {"weight_decay": 0.1}),
        (
            {"optimizer_type": "Prodigy", "learning_rate": 1, "optimizer_args": "safeguard_warmup=True"},
            {"weight_decay": 0.0, "use_bias_correction": False, "safeguard_warmup": True},
        ),
        ({"optimizer_type": "DAdaptAdam"}, {"weight_decay": 0.0, "use_bias_correction": False}),
        ({"optimizer_type": "AdamWScheduleFree"}, {"weight_decay": 0.0}),
        ({"optimizer_type": "PagedAdamW32bit"}, {"weight_decay": ABSENT}),
        ({"optimizer_type": "SGDNesterov8bit"}, {"nesterov": True, "momentum": 0.9}),
        # transformers' Adafactor finds its rate, whatever --learning_rate says.
        (
            {"optimizer_type": "AdaFactor", "learning_rate": 3e-4},
            {"relative_step": True, "scale_parameter": True, "lr": 1.0},
        ),
        (
            {
                "optimizer_type": "Adafactor",
                "learning_rate": 3e-4,
                "optimizer_args": ["relative_step=False", "scale_parameter=False", "warmup_init=False"],
            },
            {"relative_step": False, "scale_parameter": False, "lr": 3e-4},
        ),
    ],
)
def test_an_optimizer_has_its_librarys_defaults(tmp_path, options, expected, compose_imported):
    imported = import_options(tmp_path, **options)
    found = {name: imported.settings.get(f"train.optimizer.{name}", ABSENT) for name in expected}
    assert found == expected
    compose_imported(imported)


@pytest.mark.parametrize(
    ("options", "warmup", "left"),
    [
        ({"lr_scheduler": "constant", "lr_warmup_steps": 100}, ABSENT, ["--lr_warmup_steps"]),
        ({"lr_warmup_steps": 0.1}, ABSENT, ["--lr_warmup_fraction"]),
        ({"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 100}, 100, []),
        ({"lr_scheduler": "cosine", "lr_warmup_steps": "100"}, 100, []),
        # Adafactor's own schedule takes the place of every other.
        ({"optimizer_type": "Adafactor", "lr_scheduler": "cosine", "lr_warmup_steps": 100}, ABSENT, []),
    ],
)
def test_a_constant_rate_has_no_warmup(tmp_path, options, warmup, left):
    imported = import_options(tmp_path, **options)
    assert imported.settings.get("train.scheduler.warmup_steps", ABSENT) == warmup
    assert "train.scheduler.warmup_fraction" not in imported.settings
    assert [name for name, _, _ in imported.left] == left


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        ({"loss_type": "huber"}, "snr"),
        ({"loss_type": "smooth_l1", "huber_schedule": "exponential"}, "exponential"),
        ({"loss_type": "l2", "huber_schedule": "snr"}, ABSENT),
    ],
)
def test_hubers_schedule_is_snr_where_it_is_not_given(tmp_path, options, schedule):
    imported = import_options(tmp_path, **options)
    assert imported.settings.get("train.objective.huber_schedule", ABSENT) == schedule


def test_weightings_that_are_multiplied_there_are_one_here(tmp_path, compose_imported):
    imported = import_options(tmp_path, min_snr_gamma=5, debiased_estimation_loss=True)
    assert [name for name, _, _ in imported.left] == ["--debiased_estimation_loss"]
    assert compose_imported(imported).train.objective.min_snr_gamma == 5


def test_buckets_of_sdxl_are_kohyas(tmp_path, compose_imported):
    given = {"pretrained_model_name_or_path": "sdxl.safetensors", "enable_bucket": True, "resolution": "1024"}
    bucket = compose_imported(import_options(tmp_path, **given, max_bucket_reso=1536)).prepare.bucket
    assert (bucket.min, bucket.max, bucket.step) == (256, 1536, 64)


def test_every_picture_is_trained_on(tmp_path, compose_imported):
    imported = import_options(tmp_path)
    assert compose_imported(imported).train.validation.fraction == 0
    assert "every picture is trained on" in "\n".join(imported.decided)
    assert compose_imported(import_options(tmp_path, validation_split=0.2)).train.validation.fraction == 0.2


@pytest.mark.parametrize("module", ["networks.dylora", "networks.lora_fa", "some.locon_kohya"])
def test_another_network_is_told(tmp_path, module):
    imported = import_options(tmp_path, network_module=module)
    assert imported.choices["train/adapter"] == "lora"
    assert [name for name, _, _ in imported.left] == ["--network_module"]


def test_a_rank_beyond_all_layers_is_lokrs_full_matrix(tmp_path, compose_imported):
    args = ["algo=lokr", "factor=6", "decompose_both=True", "conv_dim=100000", "conv_alpha=1"]
    given = {"network_module": "lycoris.kohya", "network_dim": 100_000, "network_alpha": 1, "network_dropout": 0.2}
    imported = import_options(tmp_path, **given, network_args=args)
    adapter = compose_imported(imported).train.adapter
    assert (adapter.full_matrix, adapter.factor, adapter.decompose_both) == (True, 6, False)
    assert [name for name, _, _ in imported.left] == ["train.adapter.dropout"]


@pytest.mark.parametrize(
    ("length", "read", "left"),
    [
        (None, None, []),
        (225, 225, []),
        (255, 225, []),
        (200, 150, []),
        (300, 225, []),
        (40, None, ["--max_token_length"]),
    ],
)
def test_a_length_of_captions_is_read_in_whole_pieces(tmp_path, length, read, left):
    imported = import_options(tmp_path, max_token_length=length)
    assert imported.settings.get("encode.max_tokens") == read
    assert [name for name, _, _ in imported.left] == left
    told = any("encode.max_tokens" in text for text in imported.decided)
    assert told is (read is not None and read != length)


def test_a_format_that_holds_code_is_not_written(tmp_path):
    assert [name for name, _, _ in import_options(tmp_path, save_model_as="ckpt").left] == ["--save_model_as"]
    assert not import_options(tmp_path, save_model_as="safetensors").left
