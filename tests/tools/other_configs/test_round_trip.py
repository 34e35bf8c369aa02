"""A file of ours gives the settings that made it."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lorakiln.tools.other_configs.translation import translate_file
from tests.conf.test_compose import GROUPS, compose


def test_a_file_of_ours_gives_the_settings_that_made_it(tmp_path, compose_imported):
    made = compose("+experiment=demo_style", "train/scheduler=cosine", "train.seed=3", "train/objective=huber")
    sections = {name: made.model_dump(mode="json")[name] for name in ("prepare", "caption", "encode", "train")}
    sections["train"].pop("tracker")
    metadata = {"lorakiln_settings": json.dumps(sections), "ss_output_name": "style"}
    save_file({"lora_unet_x.alpha": torch.ones(())}, tmp_path / "a.safetensors", metadata)
    config, imported = translate_file(tmp_path / "a.safetensors")
    again = compose_imported(imported).model_dump(mode="json")
    again["train"].pop("tracker")
    assert config.program == "LoRAKiln" and again["export"]["name"] == "style"
    assert {name: again[name] for name in sections} == sections


KINDS = {
    "train/adapter": ["lora", "rslora", "dora", "loha", "lokr", "oft", "boft", "ia3"],
    "train/optimizer": ["adamw", "adamw8bit", "sgd", "lion", "adafactor", "came", "muon", "prodigy", "dadapt_adam"],
    "train/scheduler": ["linear", "cosine", "cosine_with_restarts", "polynomial", "one_cycle", "rex", "wsd"],
    "train/objective": ["mse", "l1", "huber", "smooth_l1", "min_snr", "debiased", "p2"],
}
# One of every sort at once; where a sort has fewer, it begins again.
CASES = [[f"{group}={kinds[number % len(kinds)]}" for group, kinds in KINDS.items()] for number in range(9)]
OTHER = ["train.batch_size=6", "train.save_every=1epoch", "train.objective.noise_offset=0.05", "encode.flip=true"]


def test_the_table_has_every_kind_but_those_with_settings_that_must_be_given():
    for group, kinds in KINDS.items():
        members = {name.partition("=")[2] for name in GROUPS if name.startswith(f"{group}=")}
        apart = {"train/optimizer": {"pytorch_optimizer", "schedule_free"}}
        apart["train/scheduler"] = {"constant", "inverse_sqrt", "piecewise"}
        assert set(kinds) == members - apart.get(group, set())


@pytest.mark.parametrize("kinds", CASES, ids=lambda kinds: " ".join(one.partition("=")[2] for one in kinds))
def test_every_kind_comes_back_with_its_settings(tmp_path, compose_imported, kinds):
    warmup = ["train.scheduler.warmup_steps=0"]
    made = compose("+experiment=smoke", *warmup, *OTHER, *kinds).model_dump(mode="json")
    sections = {name: made[name] for name in ("prepare", "caption", "encode", "train")}
    sections["train"].pop("tracker")
    save_file({"x": torch.ones(())}, tmp_path / "a.safetensors", {"lorakiln_settings": json.dumps(sections)})
    again = compose_imported(translate_file(tmp_path / "a.safetensors")[1]).model_dump(mode="json")
    again["train"].pop("tracker")
    assert {name: again[name] for name in sections} == sections
