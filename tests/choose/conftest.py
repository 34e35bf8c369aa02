"""A run with three saved steps and its captioned pictures, as `train` and `caption` write them, in miniature."""

import pytest

from lorakiln.artefacts.json_files import write_json
from lorakiln.lora_files import diffusers_form
from tests.evaluate.conftest import judged_model, micro_clip, write_captioned
from tests.export.conftest import make_facts, trained

__all__ = ["captioned", "judged_model", "micro_clip", "run"]


@pytest.fixture
def captioned(tmp_path):
    write_captioned(tmp_path / "captioned")
    return tmp_path / "captioned"


@pytest.fixture
def run(tmp_path, judged_model, micro_family):
    return write_run(tmp_path / "run", judged_model, micro_family)


def write_run(folder, model, family):
    facts = make_facts(model, family)
    write_json(folder / "facts.json", facts)
    for entry in facts["adapters"]:
        diffusers_form.save(trained(family, entry["step"]), folder / entry["file"])
    return folder
