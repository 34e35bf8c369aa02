"""What masks other programs' configs name, and what the loss outside of them weighs there."""

import json

import pytest

from lorakiln.tools.other_configs.translation import translate_file

SUBSET = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "mira"\n'
COMMAND = "accelerate launch train_network.py --pretrained_model_name_or_path=base --train_data_dir=mira"


@pytest.mark.parametrize(
    ("name", "text", "masks", "left"),
    [
        ("a.sh", f"{COMMAND} --masked_loss --alpha_mask", "alpha", []),
        ("a.sh", f"{COMMAND} --masked_loss", None, ["--masked_loss"]),
        ("a.toml", f'{SUBSET}conditioning_data_dir = "mira_masks"\n', "files", []),
        ("a.toml", f"{SUBSET}alpha_mask = true\n", "alpha", []),
        # Where a picture has both, the file is it.
        ("a.toml", f'{SUBSET}alpha_mask = true\nconditioning_data_dir = "mira_masks"\n', "auto", []),
        ("a.toml", f'{SUBSET}conditioning_data_dir = "mira_masks"\nalpha_mask = true\n', "auto", []),
    ],
)
def test_sd_scripts_masks_take_all_that_is_outside_away(tmp_path, compose_imported, name, text, masks, left):
    (tmp_path / name).write_text(text)
    _, imported = translate_file(tmp_path / name)
    assert imported.settings.get("prepare.masks") == masks
    assert imported.settings.get("train.objective.unmasked_weight") == (None if masks is None else 0.0)
    assert [told for told, _, _ in imported.left] == left
    told = " ".join(imported.decided)
    assert ("masks of mira_masks belong into `masks`" in told) == (masks in ("files", "auto"))
    config = compose_imported(imported)
    assert config.prepare.masks == (masks or "auto")


@pytest.mark.parametrize(
    ("given", "masks", "weight", "normalised"),
    [
        ({"masked_training": True, "unmasked_weight": 0.25, "normalize_masked_area_loss": True}, "files", 0.25, True),
        ({"masked_training": True, "unmasked_weight": 0.0}, "files", 0.0, False),
        ({"masked_training": True}, "files", 0.1, False),
        ({"masked_training": False, "unmasked_weight": 0.25, "normalize_masked_area_loss": True}, "auto", 1.0, False),
    ],
)
def test_onetrainers_masks_weigh_as_there(tmp_path, compose_imported, given, masks, weight, normalised):
    config = {"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", "base_model_name": "base", **given}
    (tmp_path / "a.json").write_text(json.dumps(config))
    _, imported = translate_file(tmp_path / "a.json")
    assert not imported.left
    composed = compose_imported(imported)
    objective = composed.train.objective
    found = (composed.prepare.masks, objective.unmasked_weight, objective.normalize_masked_area)
    assert found == (masks, weight, normalised)
