"""What is installed: the weights that the record names, the card that the recipe writes, nothing of the machine."""

import json
import re
import shutil

import pytest

from recipes.tiny import install, workspace
from recipes.tiny.workspace import MODELS


def test_the_installed_card_is_what_the_recipe_writes(tmp_path):
    shutil.copy(MODELS / "metrics.json", tmp_path)
    installed = (MODELS / "README.md").read_text("utf-8")
    install.write_card(tmp_path, float(re.search(r"holds ([\d.]+) MB", installed)[1]))
    assert (tmp_path / "README.md").read_text("utf-8") == installed


def test_a_missed_bar_stands_on_the_card(tmp_path):
    metrics = json.loads((MODELS / "metrics.json").read_text("utf-8"))
    metrics["measured"]["sd"]["style"] = 0.5
    (tmp_path / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    install.write_card(tmp_path, 1.0)
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "Not met: sd style." in text and "| sd | right style | 50.0% | >= 90.0% |" in text


@pytest.fixture(scope="module")
def draft(tmp_path_factory):
    """What is installed, installed again from a working folder that holds it."""
    work = tmp_path_factory.mktemp("work")
    for part in ("sd", "clip", "blip"):
        shutil.copytree(MODELS / part, work / part)
    index = json.loads((work / "sd" / "unet" / "config.json").read_text("utf-8"))
    (work / "sd" / "unet" / "config.json").write_text(json.dumps(index | {"_name_or_path": "/home/me"}), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace, "WORK", work)
        install.install(work / "draft")
        install.write_provenance(work / "draft")
    return work / "draft"


def test_the_installed_weights_are_those_of_the_record(draft):
    installed = json.loads((MODELS / "provenance.json").read_text("utf-8"))["installed"]
    assert {file: workspace.hash_file(MODELS / file) for file in installed} == installed
    assert len(installed) == 5
    # Installing is the last step, and it makes the same bytes today.
    assert json.loads((draft / "provenance.json").read_text("utf-8"))["installed"] == installed


def test_the_labels_are_those_installed(draft):
    assert (draft / "labels.json").read_bytes() == (MODELS / "labels.json").read_bytes()


def test_no_path_of_the_machine_is_installed(draft):
    for config in draft.rglob("*.json"):
        assert "/home/me" not in config.read_text("utf-8"), config


def test_a_measured_folder_takes_the_place_of_the_installed_one_whole(tmp_path):
    for name, file in (("fresh", "new"), ("models", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(name, "utf-8")
    install.replace(tmp_path / "fresh", tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "models"]
