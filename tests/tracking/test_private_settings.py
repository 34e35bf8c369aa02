"""What of the settings a tracker on another machine is not told."""

from lorakiln.tracking.private_settings import remove_words


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
