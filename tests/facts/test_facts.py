"""The facts that stages hand on: read by name and type, and written back as they were."""

import re
from pathlib import Path

import pytest

from lorakiln.artefacts.json_files import Damaged, Missing, read_json, write_json
from lorakiln.console.errors import UserError
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import RunFacts
from lorakiln.rows import CaptionedRow, Index, read_captioned
from lorakiln.schema.prepare import PrepareSettings
from tests.made_facts import captioned_row, lora_facts, run_facts

# Files of the stages, by what a variable that holds one is called.
BY_STRING = re.compile(
    r"\b(facts|index|dataset|row|entry)(\[|\.get\()[\"'](settings|base|dataset|step|rank|trigger|text)"
)
# A row of metrics.csv or validation.csv has numbers by its columns' names.
OF_METRICS = re.compile(r"for row in (record|self)\.(metrics|validation)\b")


@pytest.mark.parametrize("facts", [run_facts(), lora_facts(), run_facts(timesteps=(0, 50, 100), held_out=0)])
def test_what_is_read_and_written_is_what_it_was(tmp_path, facts):
    """What nobody has said is not written; what this version does not know is."""
    path = tmp_path / "facts.json"
    write_json(path, facts.to_dict() | {"of_another_version": {"kept": [1, 2]}})
    before = path.read_bytes()
    type(facts).read(path).write(path)
    assert path.read_bytes() == before
    assert "precision" not in read_json(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"step": None}, "step: input should be a valid integer"),
        ({"base": {"family": "sd"}}, "nothing about 'base.path' in it"),
        ({"adapters": [{"step": 3}]}, "nothing about 'adapters.0.file' in it"),
    ],
)
def test_a_fact_that_is_missing_or_wrong_is_damage_and_named(tmp_path, change, told):
    path = tmp_path / "facts.json"
    write_json(path, run_facts().to_dict() | change)
    with pytest.raises(Damaged, match=re.escape(f"facts.json: damaged ({told})")) as caught:
        RunFacts.read(path)
    assert "dvc repro" in caught.value.fix


def test_no_file_is_told_as_such(tmp_path):
    with pytest.raises(Missing):
        LoraFacts.read(tmp_path / "facts.json")
    with pytest.raises(FileNotFoundError):
        Index.read(tmp_path / "index.json")
    with pytest.raises(Missing):
        read_captioned(tmp_path)


def test_settings_that_others_did_not_get_do_not_hide_the_rest():
    prepare = {"resolution": 64, "bucket": {"min": 32, "max": 128, "step": 16}}
    assert run_facts(settings={"prepare": prepare}).made_with("prepare", PrepareSettings).resolution == 64
    facts = run_facts(settings={"prepare": {**prepare, "resolution": -3}})
    with pytest.raises(UserError, match=r"(?s)not of this version.*prepare.resolution.*got -3"):
        facts.made_with("prepare", PrepareSettings)


def test_equal_pictures_are_told_by_their_first():
    assert CaptionedRow(**captioned_row("a.png", sha256="a" * 64)).likeness == "a" * 64
    assert CaptionedRow(**captioned_row("a.png", sha256="a" * 64, twin="b" * 64)).likeness == "b" * 64


def test_no_code_reads_facts_by_string():
    found = [
        f"{path}: {line.strip()}"
        for folder in ("src/lorakiln", "pipelines")
        for path in Path(folder).rglob("*.py")
        if "doctor" not in path.parts
        for line in path.read_text().splitlines()
        if BY_STRING.search(line) and "family.facts" not in line and not OF_METRICS.search(line)
    ]
    assert not found, "\n".join(found)
