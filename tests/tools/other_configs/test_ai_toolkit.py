"""What ai-toolkit does where nothing is said, and what it calls otherwise."""

import pytest
import yaml

from lorakiln.caption.trigger import complete_text
from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.translation import translate_file


def import_process(tmp_path, **sections):
    config = {"job": "extension", "config": {"name": "fox", "process": [{"type": "sd_trainer", **sections}]}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    return translate_file(tmp_path / "a.yaml")[1]


def test_its_defaults(tmp_path, compose_imported):
    imported = import_process(tmp_path, train={"steps": 20})
    train = compose_imported(imported).train
    assert (train.adapter.rank, train.adapter.alpha, train.batch_size) == (4, 1.0, 1)
    assert (train.optimizer.lr, train.optimizer.eps) == (1e-6, 1e-6)
    assert (train.trainer.gradient_checkpointing, train.trainer.precision) == (True, "fp32")
    assert "train.adapter.alpha is 1" in "\n".join(imported.decided)


def test_alpha_is_that_of_all_layers_where_linear_alpha_is_not_given(tmp_path):
    network = {"type": "lora", "rank": 16, "alpha": 8, "conv": 4}
    settings = import_process(tmp_path, network=network).settings
    assert (settings["train.adapter.rank"], settings["train.adapter.alpha"]) == (16, 8)
    assert settings["train.adapter.rank_pattern"]["conv1"] == settings["train.adapter.alpha_pattern"]["conv1"] == 4


def test_its_lokr_is_of_full_rank(tmp_path, compose_imported):
    adapter = compose_imported(import_process(tmp_path, network={"type": "lokr", "lokr_factor": 8})).train.adapter
    assert (adapter.kind, adapter.full_matrix, adapter.factor) == ("lokr", True, 8)
    adapter = import_process(tmp_path, network={"type": "lokr", "linear": 8, "lokr_full_rank": False}).settings
    assert adapter["train.adapter.rank"] == 8 and "train.adapter.full_matrix" not in adapter


def test_a_small_rate_of_what_finds_its_own_is_1(tmp_path, compose_imported):
    train = {"optimizer": "prodigy", "lr": 1e-4, "train_text_encoder": True}
    train |= {"optimizer_params": {"d_coef": 0.5, "weight_decay": 0.05, "fused": True}}
    imported = import_process(tmp_path, train=train)
    found = compose_imported(imported).train
    assert (found.optimizer.lr, found.optimizer.d_coef, found.optimizer.weight_decay) == (1.0, 0.5, 0.05)
    assert (found.optimizer.safeguard_warmup, found.text_encoders.lr) == (False, None)
    assert [name for name, _, _ in imported.left] == ["train.optimizer_params.fused"]


def test_its_datasets_and_samples(tmp_path):
    dataset = {"folder_path": "/x/fox", "buckets": False, "alpha_mask": True, "resolution": 768}
    sample = {"samples": [{"prompt": "a fox", "seed": 3}]}
    imported = import_process(tmp_path, datasets=[dataset], sample=sample, save={"dtype": "bf16"})
    assert (imported.settings["prepare.bucket.enable"], imported.settings["prepare.masks"]) == (False, "alpha")
    assert imported.settings["train.samples.prompts"] == ["a fox"]
    assert imported.settings["export.precision"] == "bf16" and not imported.left


@pytest.mark.parametrize("model", [{"is_flux": True}, {"arch": "wan21"}, {"is_v3": True}])
def test_another_family_is_refused(tmp_path, model):
    with pytest.raises(UserError, match="a family of models that is none here"):
        import_process(tmp_path, model=model)


def test_a_rate_without_a_point_is_a_number(tmp_path, compose_imported):
    train = {
        "lr": "RATE",
        "optimizer": "prodigy",
        "train_text_encoder": True,
        "optimizer_params": {"weight_decay": "DECAY"},
    }
    config = {"job": "extension", "config": {"name": "fox", "process": [{"type": "sd_trainer", "train": train}]}}
    text = yaml.safe_dump(config).replace("RATE", "3e-1").replace("DECAY", "1E-2")
    (tmp_path / "a.yaml").write_text(text)
    found = compose_imported(translate_file(tmp_path / "a.yaml")[1]).train
    assert (found.optimizer.lr, found.optimizer.weight_decay) == (0.3, 0.01)


def test_its_schedules(tmp_path, compose_imported):
    def schedule(kind, **params):
        given = {"lr_scheduler": kind, "lr_scheduler_params": params, "lr": 2e-4, "steps": 3000}
        return import_process(tmp_path, train=given)

    warm = schedule("constant_with_warmup", num_warmup_steps=50)
    found = compose_imported(warm).train.scheduler
    assert (found.kind, found.warmup_steps) == ("constant", 50) and not warm.left
    # What it takes where no number is given.
    assert schedule("constant_with_warmup").settings["train.scheduler.warmup_steps"] == 1000
    falling = schedule("cosine", eta_min=2e-5, last_epoch=-1)
    assert compose_imported(falling).train.scheduler.min_lr_ratio == pytest.approx(0.1)
    assert [name for name, _, _ in falling.left] == ["train.lr_scheduler_params.last_epoch"]
    assert compose_imported(schedule("cosine", num_warmup_steps=20)).train.scheduler.warmup_steps == 20
    # torch's LinearLR rises, ours falls.
    rising = schedule("linear")
    assert compose_imported(rising).train.scheduler.kind == "constant"
    assert [name for name, _, _ in rising.left] == ["train.lr_scheduler"]


def test_a_rate_of_encoders_beside_what_finds_one_is_told(tmp_path, compose_imported):
    train = {"optimizer": "prodigy", "lr": 1.0, "train_text_encoder": True, "text_encoder_lr": 1e-5}
    imported = import_process(tmp_path, train=train)
    assert compose_imported(imported).train.text_encoders.lr is None
    assert [(name, value) for name, value, _ in imported.left] == [("train.text_encoders.lr", 1e-5)]


def test_the_place_of_the_trigger_word_is_filled(tmp_path, compose_imported):
    imported = import_process(tmp_path, trigger_word="p3r5on", sample={"prompts": ["[trigger] at a cafe", "a dog"]})
    config = compose_imported(imported)
    assert list(config.train.samples.prompts) == ["p3r5on at a cafe", "a dog"]
    captions = [complete_text(config.caption, text, False, False) for text in ("a photo of [trigger]", "outside")]
    assert captions == ["a photo of p3r5on", "p3r5on, outside"]


def test_what_a_process_has_beside_its_sections_is_told(tmp_path):
    asked = {
        "type": "concept_slider",
        "slider": {"guidance_strength": 3.0},
        "embedding": {"tokens": 4},
        "device": "cuda",
    }
    imported = import_process(tmp_path, **asked, adapter=None, logging={"log_every": 1})
    assert imported.left == [
        ("type", "concept_slider", "no kind of training here; its network is trained as a LoRA is"),
        ("embedding", "tokens", "new words are train.tokens: docs/training.md"),
        ("slider", "guidance_strength", "no counterpart here"),
    ]
