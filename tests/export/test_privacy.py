"""What an exported file does not say: places on this machine, and with `private` words and names."""

import pytest

from lorakiln.export.privacy import remove_places, remove_private
from tests.made_facts import BASE, DATASET, run_facts


@pytest.fixture
def facts():
    return run_facts(
        base={**BASE, "path": "/home/me/sd"},
        dataset={**DATASET, "name": "secret", "trigger": "sks"},
        init_from={"file": "mine.safetensors", "hash": "h"},
        settings={
            "prepare": {"dataset": "secret", "resolution": 64},
            "caption": {"trigger": "sks", "prompt": "my cat", "captioner": "blip"},
            "model": {
                "path": "/home/me/sd",
                "revision": "main",
                "vae": "~/me/vae.safetensors",
                "config": "owner/sd",
                "captioner": {"path": "me/sub/blip", "revision": None},
                "clip": {"path": "owner/clip"},
            },
            "train": {
                "seed": 1,
                "samples": {"prompts": ["sks"], "every": 3},
                "tracker": {"kind": "csv", "entity": "me"},
                "adapter": {"init_from": "/home/me/mine.safetensors", "rank": 4},
                "tokens": {"sks": {"init": "my cat", "vectors": 2}, "init": {"init": None, "vectors": 1}},
            },
        },
    )


def test_a_private_export_keeps_no_name_no_words_and_no_place(facts):
    settings = remove_private(facts, "lora").settings
    assert settings == {
        "prepare": {"resolution": 64},
        "caption": {"trigger": "sks", "prompt": "", "captioner": "blip"},
        "model": {
            "path": "sd",
            "revision": "main",
            "vae": "vae.safetensors",
            "config": "owner/sd",
            "captioner": {"path": "blip", "revision": None},
            "clip": {"path": "owner/clip"},
        },
        "train": {
            "seed": 1,
            "samples": {"prompts": [], "every": 3},
            "adapter": {"init_from": None, "rank": 4},
            # Whoever draws needs the words; what they began as nobody does.
            "tokens": {"sks": {"init": None, "vectors": 2}, "init": {"init": None, "vectors": 1}},
        },
    }
    told = remove_private(facts, "lora")
    assert (told.base.path, told.dataset.name, told.init_from) == ("sd", "lora", None)
    assert (facts.dataset.name, facts.settings["prepare"]["dataset"]) == ("secret", "secret")  # a copy was changed


def test_an_exported_file_tells_no_place_of_this_machine(facts):
    told = remove_places(facts)
    assert told.base.path == told.settings["model"]["path"] == "sd"
    model, adapter = told.settings["model"], told.settings["train"]["adapter"]
    assert (model["vae"], model["config"], model["captioner"]["path"]) == ("vae.safetensors", "owner/sd", "me/sub/blip")
    assert adapter == {"init_from": "mine.safetensors", "rank": 4}
    assert told.settings["train"]["tracker"] == {"kind": "csv", "entity": "me"}
