"""Datasets' folders may be called anything that a folder may, in params.yaml and on the command line."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.lorakiln_conf.quoting import quote_datasets, quote_value
from pipelines.compose import compose_config, make_overrides

NAMES = [
    *("it's", "dog (1)", "dog,cat", "dog&cat", "~dog", "2024", "null", "我的狗", "-dog", "a=b", '"q"', "[x]{y}: #1"),
    *("NaN", "my_dog-2", "my dog 🙂", "50%", "${here}", 'don\'t "look"', "true", "1e3"),
]


@pytest.mark.parametrize("text", [*NAMES, "\\", "a\\'", "\\\\'x\\"])
def test_hydra_reads_what_was_quoted(text):
    value = OverridesParser.create().parse_override(f"key={quote_value(text)}").value()
    # As OmegaConf writes what is no reference.
    assert str(getattr(value, "text", value)) == text.replace("${", r"\${")


@pytest.mark.parametrize("name", ['~it\'s (1), "我" [x]{y}=#1', "2024", "null", "-${here}"])
def test_a_name_in_params_or_on_the_command_line_is_that_folder(tmp_path, name):
    (tmp_path / "raw" / name).mkdir(parents=True)
    raw = f"paths.raw={tmp_path}/raw"
    given = {"experiment": "smoke", "dataset": name, "overrides": [raw]}
    for overrides in (make_overrides(given), ["+experiment=smoke", raw, f"prepare.dataset={name}"]):
        assert compose_config(overrides)["prepare"]["dataset"] == name


def test_a_path_and_a_slash_behind_it_are_understood_and_other_values_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("data/raw/my dog", "elsewhere/cat"):
        (tmp_path / folder).mkdir(parents=True)
    for given in ("my dog", "my dog/", "data/raw/my dog", "./data/raw/my dog/", str(tmp_path / "data/raw/my dog")):
        assert quote_datasets([f"+prepare.dataset={given}"]) == ["+prepare.dataset='my dog'"]
    others = ["prepare.dataset=elsewhere/cat", "prepare.dataset=a,b", "prepare.dataset='my dog'", "train.steps=3", "-m"]
    assert quote_datasets(others) == others
