"""A run with three saved steps and its captioned pictures, as `train` and `caption` write them, in miniature."""

import shutil

import pytest

from lorakiln.artefacts.json_files import write_json
from lorakiln.choose import choose
from lorakiln.lora_files import diffusers_form
from lorakiln.schema.choose import ChooseSettings
from lorakiln.schema.evaluate import EvaluateSettings
from tests.evaluate.conftest import judged_model, micro_clip, write_captioned
from tests.export.conftest import make_facts, trained

__all__ = ["EVALUATE", "SETTINGS", "captioned", "chosen", "judged_model", "made", "micro_clip", "run"]
EVALUATE = EvaluateSettings(
    prompts=[f"{{trigger}}, a {colour} cat" for colour in ("red", "blue", "green", "old", "new", "big", "small")],
    seeds=[0, 7, 8],
    weights=[0, 1],
    between=[],
    grid_prompts=2,
    without_trigger=False,
    steps=1,
    batch_size=8,
    device="cpu",
    workers=1,
)
SETTINGS = ChooseSettings(weights=[0.5, 1.0])


@pytest.fixture(scope="module")
def made(tmp_path_factory, judged_model, micro_family):
    """A folder with run, captioned and, chosen among the run's steps, choice. Tests take copies of it."""
    folder = tmp_path_factory.mktemp("made")
    write_captioned(folder / "captioned")
    write_run(folder / "run", judged_model, micro_family)
    choose(folder / "run", folder / "captioned", folder / "choice", SETTINGS, EVALUATE, judged_model)
    return folder


@pytest.fixture
def captioned(tmp_path, made):
    return shutil.copytree(made / "captioned", tmp_path / "captioned")


@pytest.fixture
def run(tmp_path, made):
    return shutil.copytree(made / "run", tmp_path / "run")


@pytest.fixture
def chosen(tmp_path, made):
    return shutil.copytree(made / "choice", tmp_path / "choice")


def write_run(folder, model, family):
    facts = make_facts(model, family)
    write_json(folder / "facts.json", facts)
    for entry in facts["adapters"]:
        diffusers_form.save(trained(family, entry["step"]), folder / entry["file"])
    return folder
