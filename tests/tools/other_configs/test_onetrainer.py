"""What OneTrainer calls otherwise."""

import json

import pytest

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.translation import translate_file


def test_onetrainers_strength_is_min_snrs_gamma(tmp_path):
    options = {"training_method": "LORA", "loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": 3.0}
    (tmp_path / "a.json").write_text(json.dumps({**options, "force_v_prediction": True}))
    _, imported = translate_file(tmp_path / "a.json")
    assert imported.settings["train.objective.min_snr_gamma"] == 3.0
    assert imported.settings["model.prediction_type"] == "v_prediction"


def test_onetrainers_embedding_is_a_word_alone(tmp_path, compose_imported):
    word = {"placeholder": "mydog", "train": True, "token_count": 3, "initial_embedding_text": "*"}
    file = {"model_name": "begun.safetensors", "stop_training_after": 9, "stop_training_after_unit": "EPOCH"}
    config = {
        "training_method": "EMBEDDING",
        "model_type": "STABLE_DIFFUSION_15",
        "lora_rank": 16,
        "learning_rate": 5e-3,
    }
    config |= {"text_encoder": {"train": True}, "embedding": word | file, "preserve_embedding_norm": True}
    (tmp_path / "word.json").write_text(json.dumps(config))
    _, imported = translate_file(tmp_path / "word.json")
    assert {name for name, _, _ in imported.left} == {"embedding.stop_training_after", "preserve_embedding_norm"}
    train = compose_imported(imported, "prepare.dataset=mine").train
    assert train.parts == [] and train.tokens["mydog"].model_dump() == {
        "init": None,
        "vectors": 3,
        "lr": None,
        "max_norm": None,
    }
    assert (train.adapter.init_from, train.optimizer.lr) == ("begun.safetensors", 5e-3)


def test_a_flat_config_trains_what_it_says_and_nothing_else(tmp_path):
    settings = import_config(tmp_path, train_text_encoder=False, optimizer="ADAMW").settings
    assert "train.parts" not in settings
    # A section counts before what stood beside it.
    settings = import_config(tmp_path, train_text_encoder=False, text_encoder={"train": True}).settings
    assert settings["train.parts"] == ["unet", "text_encoder"]


def test_a_flat_configs_timesteps_and_word(tmp_path):
    imported = import_config(tmp_path, noising_weight=0.3, noising_bias=0.7)
    assert [(name, value) for name, value, _ in imported.left] == [("timestep_distribution", "SIGMOID")]
    assert not import_config(tmp_path, noising_weight=0.0, noising_bias=0.5).left
    for word in ({"token_count": 3, "embedding_model_names": ["a.pt"]}, {"embeddings": [{"token_count": 3}]}):
        settings = import_config(
            tmp_path, **{"training_method": "EMBEDDING", "initial_embedding_text": "fox", **word}
        ).settings
        assert settings["train.tokens"]["<embedding>"]["vectors"] == 3
        assert settings["train.tokens"]["<embedding>"]["init"] == "fox"


def import_config(tmp_path, **options):
    given = {"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", **options}
    (tmp_path / "a.json").write_text(json.dumps(given))
    return translate_file(tmp_path / "a.json")[1]


def test_a_preset_says_little_and_has_onetrainers_own_for_the_rest(tmp_path, compose_imported):
    given = {"batch_size": 4, "layer_filter_preset": "attn-mlp", "text_encoder": {"weight_dtype": "FLOAT_16"}}
    imported = import_config(tmp_path, **given)
    train = compose_imported(imported, "prepare.dataset=mine").train
    assert (train.adapter.rank, train.adapter.alpha, train.adapter.targets) == (16, 1.0, "kohya")
    assert (train.epochs, train.optimizer.lr, train.scheduler.warmup_steps) == (100, 3e-6, 200)
    # Its text encoders are trained unless it says that they are not, for 30 epochs.
    assert (train.parts, train.text_encoders.stop) == (["unet", "text_encoder"], 0.3)
    assert "lora_rank 16, lora_alpha 1.0" in "\n".join(imported.decided) and not imported.left


def test_numbers_with_a_point_are_whole(tmp_path, compose_imported):
    scheduler = {"learning_rate_warmup_steps": 50.0, "learning_rate_cycles": 2.0}
    imported = import_config(tmp_path, **scheduler, learning_rate_scheduler="COSINE_WITH_HARD_RESTARTS")
    found = compose_imported(imported, "prepare.dataset=mine").train.scheduler
    assert (found.kind, found.warmup_steps, found.cycles) == ("cosine_with_restarts", 50, 2)


def test_parts_and_their_rates(tmp_path):
    encoders = {"text_encoder": {"train": False}, "text_encoder_2": {"train": True, "learning_rate": 1e-5}}
    stop = {"stop_training_after": 40, "stop_training_after_unit": "STEP"}
    encoders["text_encoder_2"] |= stop
    given = {"model_type": "STABLE_DIFFUSION_XL_10_BASE", "unet": {"train": True, "learning_rate": 2e-4}, **encoders}
    settings = import_config(tmp_path, **given).settings
    assert settings["train.parts"] == ["unet", "text_encoder_2"]
    assert settings["train.optimizer.lr"] == 2e-4
    assert settings["train.text_encoders.own"] == {"text_encoder_2": {"lr": 1e-5}}
    assert settings["train.text_encoders.stop"] == 40
    # The rate of all is the encoders' where the network that draws has its own.
    given |= {"learning_rate": 5e-5, "text_encoder_2": {"train": True}}
    assert import_config(tmp_path, **given).settings["train.text_encoders.own"] == {"text_encoder_2": {"lr": 5e-5}}


def test_no_part_stops_without_a_word(tmp_path):
    def stopping(after, unit="EPOCH"):
        return {"train": True, "stop_training_after": after, "stop_training_after_unit": unit}

    given = {"model_type": "STABLE_DIFFUSION_XL_10_BASE", "epochs": 100}
    given |= {"unet": stopping(20), "text_encoder": stopping(30), "text_encoder_2": stopping(40, "STEP")}
    imported = import_config(tmp_path, **given)
    assert imported.settings["train.text_encoders.stop"] == 0.3
    assert [(name, value) for name, value, _ in imported.left] == [
        ("unet.stop_training_after", "20 EPOCH"),
        ("text_encoder_2.stop_training_after", "40 STEP"),
    ]
    given |= {"unet": stopping(100), "text_encoder": stopping(30, "NEVER"), "text_encoder_2": stopping(30)}
    imported = import_config(tmp_path, **given)
    assert "train.text_encoders.stop" not in imported.settings
    assert [name for name, _, _ in imported.left] == ["text_encoder_2.stop_training_after"]
    given |= {"unet": {"train": True}, "text_encoder": stopping(30), "text_encoder_2": stopping(30)}
    imported = import_config(tmp_path, **given)
    assert imported.settings["train.text_encoders.stop"] == 0.3 and not imported.left


@pytest.mark.parametrize(
    ("kind", "skips", "clip_skip", "left"),
    [
        ("STABLE_DIFFUSION_15", (1, 0), 2, []),
        ("STABLE_DIFFUSION_XL_10_BASE", (1, 1), 2, []),
        ("STABLE_DIFFUSION_XL_10_BASE", (1, 0), 2, ["text_encoder_2_layer_skip"]),
        ("STABLE_DIFFUSION_XL_10_BASE", (0, 0), "absent", []),
    ],
)
def test_layers_that_are_skipped_are_counted_from_0_there(tmp_path, kind, skips, clip_skip, left):
    given = {"text_encoder_layer_skip": skips[0], "text_encoder_2_layer_skip": skips[1]}
    imported = import_config(tmp_path, model_type=kind, **given)
    assert imported.settings.get("encode.clip_skip", "absent") == clip_skip
    assert [name for name, _, _ in imported.left] == left


def test_the_loss_and_its_timesteps(tmp_path, compose_imported):
    density = {"timestep_distribution": "LOGIT_NORMAL", "noising_bias": 0.5, "noising_weight": 0.2}
    error = {"mse_strength": 0.0, "mae_strength": 1.0}
    imported = import_config(tmp_path, **error, **density, min_noising_strength=0.1, max_noising_strength=0.8)
    objective = compose_imported(imported, "prepare.dataset=mine").train.objective
    assert (objective.kind, objective.timestep_density) == ("l1", "logit_normal")
    assert (objective.min_timestep, objective.max_timestep) == (100, 800)
    assert (objective.logit_mean, objective.logit_std) == (0.5, 1.2)
    mixed = import_config(tmp_path, mse_strength=0.5, huber_strength=0.5)
    assert [name for name, _, _ in mixed.left] == ["mse_strength"] and "train/objective" not in mixed.choices


def test_its_optimizers(tmp_path, compose_imported):
    given = {"optimizer": "PRODIGY", "beta1": 0.9, "beta2": 0.99, "d_coef": 0.5, "safeguard_warmup": True}
    imported = import_config(tmp_path, optimizer=given | {"stochastic_rounding": True, "amsgrad": True})
    optimizer = compose_imported(imported, "prepare.dataset=mine").train.optimizer
    assert (optimizer.betas, optimizer.d_coef, optimizer.safeguard_warmup) == ((0.9, 0.99), 0.5, True)
    assert (optimizer.use_bias_correction, optimizer.weight_decay) == (False, 0.0)
    assert [name for name, _, _ in imported.left] == ["optimizer.amsgrad"]


def test_when_things_are_done(tmp_path):
    given = {"save_every": 1, "save_every_unit": "EPOCH", "sample_after": 10, "sample_after_unit": "MINUTE"}
    imported = import_config(tmp_path, **given)
    assert imported.settings["train.save_every"] == "1 epoch"
    assert [(name, value) for name, value, _ in imported.left] == [("sample_after", "10 MINUTE")]


def test_a_concepts_pictures(tmp_path):
    image = {"enable_random_flip": True, "enable_crop_jitter": True, "enable_fixed_hue": False}
    concept = {"path": "/pictures/fox", "image": image, "balancing": 3.0, "balancing_strategy": "REPEATS"}
    imported = import_config(tmp_path, concepts=[concept], text_encoder={"dropout_probability": 0.1})
    assert (imported.settings["encode.flip"], imported.settings["train.repeats"]) == (True, 3)
    assert imported.settings["train.objective.caption_dropout"] == 0.1
    assert [name for name, _, _ in imported.left] == ["concepts.image.enable_crop_jitter"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model_type": "STABLE_DIFFUSION_3"}, "a family of models that is none here"),
        ({"model_type": "STABLE_DIFFUSION_15_INPAINTING"}, "a family of models that is none here"),
        ({"training_method": "FINE_TUNE"}, "trains no adapter"),
    ],
)
def test_what_is_not_trained_here_is_refused(tmp_path, options, told):
    with pytest.raises(UserError, match=f"a.json: .*{told}"):
        import_config(tmp_path, **options)


@pytest.mark.parametrize(
    ("names", "layers"),
    [
        (("lora_layers", "lora_layer_preset", "save_after", "save_after_unit"), "attn"),
        (("layer_filter", "layer_filter_preset", "save_every", "save_every_unit"), "attn"),
        (("lora_layers", "lora_layer_preset", "save_after", "save_after_unit"), ""),
    ],
)
def test_older_names_mean_what_newer_ones_do(tmp_path, names, layers):
    imported = import_config(tmp_path, **dict(zip(names, (layers, "attn-mlp", 5, "EPOCH"), strict=True)))
    assert imported.settings["train.adapter.targets"] == (["*attn*"] if layers else "kohya")
    assert imported.settings["train.save_every"] == "5 epochs" and not imported.left


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, True),
        ({"gradient_checkpointing": "CPU_OFFLOADED"}, True),
        ({"gradient_checkpointing": "OFF"}, False),
        ({"gradient_checkpointing": False}, False),  # of the oldest
        ({"unet": {"gradient_checkpointing": False}}, False),  # of the newest
        ({"unet": {"gradient_checkpointing": True}}, True),
    ],
)
def test_every_version_says_whether_activations_are_made_again(tmp_path, given, on):
    assert import_config(tmp_path, **given).settings.get("train.trainer.gradient_checkpointing", False) is on


@pytest.mark.parametrize(
    ("given", "bits", "left"),
    [
        ({"unet": {"weight_dtype": "NFLOAT_4"}}, "nf4", []),
        ({"unet": {"weight_dtype": "INT_W8A8"}}, "int8", []),
        ({"unet": {"weight_dtype": "NONE"}, "weight_dtype": "FLOAT_8"}, "fp8", []),
        ({"unet": {"weight_dtype": "BFLOAT_16"}, "weight_dtype": "FLOAT_8"}, None, []),
        ({"unet": {"weight_dtype": "GGUF"}}, None, ["unet.weight_dtype"]),
        ({"unet": {"weight_dtype": "INT_8"}, "quantization": {"layer_filter": ""}}, "int8", []),
        (
            {"unet": {"weight_dtype": "INT_8"}, "quantization": {"layer_filter": "attn"}},
            "int8",
            ["quantization.layer_filter"],
        ),
        ({"unet": {"weight_dtype": "NONE"}, "quantization": {"layer_filter": "attn"}}, None, []),
    ],
)
def test_a_base_of_fewer_bits(tmp_path, given, bits, left):
    imported = import_config(tmp_path, **given)
    assert imported.settings.get("train.trainer.quantize") == bits
    assert [name for name, _, _ in imported.left] == left


def test_a_section_that_nobody_knows_is_left_with_its_names(tmp_path):
    imported = import_config(
        tmp_path, hyper={"speed": 2, "noise": 0.5}, cloud={"enabled": True}, transformer={"train": True}
    )
    assert imported.left == [("hyper", "speed, noise", "no counterpart here")]


def test_a_vae_of_its_own_the_samples_and_gradients_that_are_not_cut(tmp_path, compose_imported):
    drawn = {"prompt": "a fox", "cfg_scale": 7.0, "diffusion_steps": 20, "negative_prompt": "dull"}
    samples = [drawn, {"prompt": "a hare", "enabled": False}, {"prompt": "an owl", "cfg_scale": 7.0}]
    imported = import_config(tmp_path, vae={"model_name": "a/vae"}, samples=samples, clip_grad_norm=None)
    assert [name for name, _, _ in imported.left] == ["samples.negative_prompt"]
    config = compose_imported(imported, "prepare.dataset=mine")
    assert (config.model.vae, config.train.max_grad_norm) == ("a/vae", None)
    assert (config.train.samples.prompts, config.train.samples.guidance) == (["a fox", "an owl"], 7.0)


def test_what_kinds_of_adapters_have_not_is_left_out(tmp_path, compose_imported):
    imported = import_config(tmp_path, lora_decompose=True, dropout_probability=0.1)
    assert [name for name, _, _ in imported.left] == ["train.adapter.dropout"]
    assert compose_imported(imported, "prepare.dataset=mine").train.adapter.kind == "dora"
    turned = import_config(tmp_path, peft_type="OFT_2", oft_block_size=24, lora_alpha=1.0)
    assert [name for name, _, _ in turned.left] == ["train.adapter.alpha"]
    adapter = compose_imported(turned, "prepare.dataset=mine").train.adapter
    assert (adapter.kind, adapter.rank, adapter.alpha) == ("oft", 24, 24)


@pytest.mark.parametrize("beside", ["training_concepts/concepts.json", "training_presets/concepts.json"])
def test_concepts_and_samples_are_read_from_the_files_that_are_named(tmp_path, beside):
    preset = tmp_path / "training_presets/a.json"
    for file in (preset, tmp_path / beside):
        file.parent.mkdir(exist_ok=True)
    given = {"concepts": None, "concept_file_name": "training_concepts\\concepts.json"}
    given |= {"samples": None, "sample_definition_file_name": "training_samples/samples.json"}
    preset.write_text(json.dumps({"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", **given}))
    (tmp_path / beside).write_text(json.dumps([{"path": "pictures/fox", "balancing": 2.0}]))
    _, imported = translate_file(preset)
    assert (imported.settings["prepare.dataset"], imported.settings["train.repeats"]) == ("fox", 2)
    assert [(value, why) for _, value, why in imported.left] == [
        ("training_samples/samples.json", "is not beside the config: copy it there and import again")
    ]


def test_concepts_that_are_not_trained_on_are_left_out(tmp_path):
    held = [{"path": "held", "validation_concept": True}, {"path": "kept", "type": "PRIOR_PREDICTION"}]
    trained = {"path": "pictures/fox", "type": "STANDARD"}
    imported = import_config(tmp_path, concepts=[*held, trained], concept_file_name="concepts.json")
    assert imported.settings["prepare.dataset"] == "fox"
    assert [(name, value) for name, value, _ in imported.left] == [("concepts", "held"), ("concepts", "kept")]
