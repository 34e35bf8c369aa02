"""YAML that DVC (YAML 1.2), OmegaConf and PyYAML read alike."""

import pytest
import yaml
from omegaconf import OmegaConf
from ruamel.yaml import YAML

from lorakiln.schema.strict_yaml import dump_yaml

NUMBERS = ["1e3", "-.5e3", "0o17", "1_000", "0x1f", "2024", "1:30", "2024-01-01"]
MARKED = [
    "null",
    "true",
    "yes",
    "~",
    "#1",
    "!x",
    "@x",
    "[1]",
    "{a}",
    "a: b",
    "a\nb",
    "a\tb",
    " x ",
    "-",
    "'q'",
    '"x"',
    "é",
]


@pytest.mark.parametrize("text", [*NUMBERS, *MARKED])
def test_a_text_stays_a_text_for_every_reader(text):
    written = dump_yaml({"name": text})
    for read in (yaml.safe_load, YAML(typ="safe").load, OmegaConf.create):
        assert read(written)["name"] == text


@pytest.mark.parametrize("text", ["1girl", "512x512 crop", "a kiln", "3.1.4"])
def test_what_no_reader_takes_for_a_number_has_no_quotes(text):
    assert dump_yaml({"a": text}) == f"a: {text}\n"


def test_numbers_stay_numbers():
    data = {"b": 1e-05, "a": [1, 2.5, True, None], "c": "plain"}
    assert yaml.safe_load(dump_yaml(data)) == OmegaConf.create(dump_yaml(data)) == data
    assert "c: plain\n" in dump_yaml(data)
