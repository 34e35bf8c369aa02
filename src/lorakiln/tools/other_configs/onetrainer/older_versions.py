"""Configs of OneTrainer's older versions, in the words of the newest.

The oldest are flat: what a section holds now stood beside all else, as train_text_encoder, unet_learning_rate,
optimizer_beta1. What a config has in a section already stays as it is there.
"""

import re
from collections.abc import Mapping
from typing import Any

# What an option was called.
RENAMED = {
    "save_after": "save_every",
    "save_after_unit": "save_every_unit",
    "lora_layers": "layer_filter",
    "lora_layer_preset": "layer_filter_preset",
    "lora_layers_regex": "layer_filter_regex",
}
PARTS = r"unet|prior|text_encoder(?:_2)?|vae|effnet_encoder|decoder(?:_text_encoder|_vqgan)?"
OF_A_PART = re.compile(rf"({PARTS})_(learning_rate|weight_dtype|model_name)")
TRAINED = re.compile(rf"train_({PARTS})(_epochs)?")
OF_THE_WORD = {
    "embedding_model_names": "model_name",
    "token_count": "token_count",
    "initial_embedding_text": "initial_embedding_text",
}
MIDDLE = 0.5  # of the timesteps, from which a bias is counted by now


def renew_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options under their newest names, in their sections."""
    options: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    flat = not isinstance(given.get("optimizer"), dict)
    for name, value in given.items():
        if found := OF_A_PART.fullmatch(name):
            sections.setdefault(found[1], {})[found[2]] = value
        elif found := TRAINED.fullmatch(name):
            what = {"stop_training_after": value, "stop_training_after_unit": "EPOCH"} if found[2] else {"train": value}
            sections.setdefault(found[1], {}).update(what)
        elif flat and name.startswith("optimizer") and not isinstance(value, dict):
            sections.setdefault("optimizer", {})[name.removeprefix("optimizer_")] = value
        elif name in OF_THE_WORD:
            first = (value or [""])[0] if isinstance(value, list) else value
            sections.setdefault("embedding", {})[OF_THE_WORD[name]] = first
        elif name == "embeddings":
            sections.setdefault("embedding", {}).update(value[0] if value else {})
        elif name == "min_snr_gamma":
            options |= {"loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": value} if value else {}
        else:
            options[RENAMED.get(name, name)] = value
    for name, section in sections.items():
        there = options.get(name)
        options[name] = {**section, **(there if isinstance(there, dict) else {})}
    if "timestep_distribution" not in options and options.get("noising_weight"):
        bias = float(options.get("noising_bias", MIDDLE)) - MIDDLE
        options |= {"timestep_distribution": "SIGMOID", "noising_bias": bias}
    return options
