"""What of the settings a tracker on another machine is not told."""

from lorakiln.schema.marks import Private, list_outermost
from lorakiln.schema.whole_config import Config
from lorakiln.tracking.private_settings import remove_words

# By hand: a mark that is lost would let its text out.
WORDS = {
    *("caption." + name for name in ("class_tokens", "excluded_tags", "first_tags", "prefix", "prompt")),
    *("caption." + name for name in ("replaced_tags", "rules", "suffix")),
    *("evaluate.classify", "evaluate.negative_prompt", "evaluate.prompts"),
    *("train.samples.prompts", "train.tokens.init"),
}
PRIVATE = {
    Private.WORDS: WORDS,
    Private.TRIGGER: {"caption.trigger", "train.tokens"},
    Private.NAME: {"export.push_to_hub", "prepare.dataset", "train.tracker"},
}


def test_which_settings_tell_of_somebody():
    for kind, expected in PRIVATE.items():
        found = {setting.path for setting in list_outermost(Config, lambda marks, kind=kind: marks.private is kind)}
        assert {path.replace("caption.links.", "caption.") for path in found} == expected


def test_words_stay_at_home():
    told = {
        "caption": {"trigger": "sks", "prompt": "a", "num_beams": 1, "captioner": "blip"},
        "train": {"samples": {"prompts": ["sks"], "every": 3}, "seed": 1},
        "evaluate": {
            "prompts": ["a"],
            "negative_prompt": "b",
            "steps": 3,
            "classify": [{"name": "n", "labels": ["c"]}],
        },
        "dataset": {"name": "mine", "trigger": "sks"},
        "more": [{"prompt": "a", "seed": 0}],
    }
    assert remove_words(told) == {
        "caption": {"num_beams": 1, "captioner": "blip"},
        "train": {"samples": {"every": 3}, "seed": 1},
        "evaluate": {"steps": 3},
        "dataset": {"name": "mine"},
        "more": [{"seed": 0}],
    }
