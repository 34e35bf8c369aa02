"""Options of captions: of each program, what they come to here, and what would mean nothing."""

import json

import pytest

from lorakiln.tools.other_configs.reading import OtherConfig
from lorakiln.tools.other_configs.translation import translate_file

EVERY = """
[general]
caption_prefix = "photo of,"
caption_suffix = "best"
[[datasets]]
  [[datasets.subsets]]
  image_dir = "/data/otter"
  shuffle_caption = true
  caption_separator = ";"
  keep_tokens = 2
  keep_tokens_separator = "|||"
  secondary_separator = "+++"
  enable_wildcard = true
  token_warmup_min = 2
  token_warmup_step = 0.25
  caption_dropout_rate = 0.1
  caption_dropout_every_n_epochs = 4
  caption_tag_dropout_rate = 0.2
  class_tokens = "an otter"
"""
CONFIGS = {
    "every.toml": EVERY,
    "useless.toml": "network_module = 'networks.lora'\nkeep_tokens = 2\ntoken_warmup_min = 3\n",
    "epochs.toml": "network_module = 'networks.lora'\nmax_train_epochs = 4\ntoken_warmup_step = 0.5\n",
    "onetrainer.json": json.dumps(
        {
            "training_method": "LORA",
            "model_type": "STABLE_DIFFUSION_15",
            "concepts": [
                {
                    "path": "/data/otter",
                    "text": {
                        "prompt_source": "sample",
                        "enable_tag_shuffling": True,
                        "tag_delimiter": "; ",
                        "keep_tags_count": 1,
                        "tag_dropout_enable": True,
                        "tag_dropout_mode": "RANDOM",
                        "tag_dropout_probability": 0.3,
                        "caps_randomize_enable": True,
                    },
                }
            ],
        }
    ),
    "toolkit.yaml": """
config:
  process:
    - datasets:
        - folder_path: /data/otter
          shuffle_tokens: true
          keep_tokens: 1
          token_dropout_rate: 0.3
          default_caption: an otter
""",
}
RULES = "encode.captions."
EXPECTED = {
    "every.toml": {
        "caption": "none",
        "caption.prefix": "photo of,",
        "caption.suffix": "best",
        "caption.lines": True,
        "caption.class_tokens": "an otter",
        f"{RULES}shuffle": True,
        f"{RULES}separator": ";",
        f"{RULES}keep_tags": 2,
        f"{RULES}keep_separator": "|||",
        f"{RULES}secondary_separator": "+++",
        f"{RULES}wildcards": True,
        f"{RULES}tag_warmup_least": 2,
        f"{RULES}tag_warmup_steps": 400,  # of sd-scripts' own 1600
        f"{RULES}tag_dropout": 0.2,
        "train.objective.caption_dropout": 0.1,
        "train.objective.caption_dropout_every_epochs": 4,
    },
    "useless.toml": {f"{RULES}keep_tags": "absent", f"{RULES}tag_warmup_least": "absent"},
    "epochs.toml": {f"{RULES}tag_warmup_steps": "absent"},
    "onetrainer.json": {
        f"{RULES}shuffle": True,
        f"{RULES}separator": ";",
        f"{RULES}keep_tags": 1,
        f"{RULES}tag_dropout": 0.3,
        "caption.lines": True,
    },
    "toolkit.yaml": {
        f"{RULES}shuffle": True,
        f"{RULES}keep_tags": 1,
        f"{RULES}tag_dropout": 0.3,
        "caption": "none",
        "caption.class_tokens": "an otter",
    },
}
LEFT = {"epochs.toml": {"token_warmup_step"}, "onetrainer.json": {"concepts.text.caps_randomize_enable"}}


@pytest.mark.parametrize("name", CONFIGS)
def test_options_of_captions(name, tmp_path):
    (tmp_path / name).write_text(CONFIGS[name])
    config, imported = translate_file(tmp_path / name)
    assert isinstance(config, OtherConfig)
    found = {**imported.choices, **imported.settings}
    assert {key: found.get(key, "absent") for key in EXPECTED[name]} == EXPECTED[name]
    told = {option for option, _, _ in imported.left}
    assert LEFT.get(name, set()) <= told and not told & {"shuffle_caption", "keep_tokens", "class_tokens"}


def test_lines_that_are_captions_there_are_said(tmp_path):
    (tmp_path / "onetrainer.json").write_text(CONFIGS["onetrainer.json"])
    _, imported = translate_file(tmp_path / "onetrainer.json")
    assert any(told.startswith("caption.lines is true") for told in imported.decided)


def test_what_means_nothing_is_said(tmp_path):
    (tmp_path / "useless.toml").write_text(CONFIGS["useless.toml"])
    _, imported = translate_file(tmp_path / "useless.toml")
    assert (
        f"{RULES}keep_tags is not set, 2 there: it means nothing without shuffle, tag_dropout or tag_warmup_steps"
        in imported.decided
    )
    assert f"{RULES}tag_warmup_least is not set, 3 there: it means nothing without tag_warmup_steps" in imported.decided
