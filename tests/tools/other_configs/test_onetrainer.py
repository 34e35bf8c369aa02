"""What OneTrainer calls otherwise."""

import json

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
