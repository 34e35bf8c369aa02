"""Datasets' folders may be called anything that a folder may, in params.yaml and on the command line."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.lorakiln_conf.quoting import quote_names, quote_value
from lorakiln.console.errors import UserError
from pipelines.compose import compose_config, make_overrides
from tests.conf.test_compose import CONF

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


@pytest.mark.parametrize("name", ['it\'s (1), "我".x', "a,b", "a=b#[c]", "back\\slash", "${x} y"])
def test_a_file_that_is_there_is_meant_by_its_name(tmp_path, monkeypatch, name):
    raw = f"paths.raw={tmp_path}"
    overrides = ["+experiment=smoke", raw, f"train.adapter.init_from=models/{name}", "prepare.dataset=x"]
    conf = CONF.resolve()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).write_bytes(b"")
    assert compose_config(overrides, conf)["train"]["adapter"]["init_from"] == f"models/{name}"
    # A number, a plain path and a group stay what they are, whatever lies here.
    for there in ("3", "my model", "a/b"):
        (tmp_path / there).mkdir(parents=True)
    others = ["train.steps=3", "model.path=a/b", "model=my model", "model.path='my model'"]
    assert quote_names(others) == others


def test_what_hydra_cannot_read_is_told_with_the_quotes_that_mend_it():
    with pytest.raises(UserError) as told:
        compose_config(["+experiment=smoke", "train.adapter.init_from=it's (1)"])
    word = re.search(r"fix: if this is a text or a file's name, write (.*)", str(told.value))[1]
    (mended,) = shlex.split(word)
    assert compose_config(["+experiment=smoke", mended])["train"]["adapter"]["init_from"] == "it's (1)"


@pytest.mark.parametrize(
    ("setting", "given", "meant"),
    [
        ("+caption.replaced_tags", """{dog_(species): "a (b)", cat: ''}""", {"dog_(species)": "a (b)", "cat": ""}),
        ("caption.excluded_tags", r"[dog_(species), a\,b]", ["dog_(species)", "a,b"]),
    ],
)
def test_tags_with_brackets_are_told_with_the_backslashes_that_mend_them(setting, given, meant):
    """A booru's tags have brackets, and quotes around a whole dict make a text of it."""
    overrides = ["+experiment=smoke", "caption=tagger"]
    with pytest.raises(UserError) as told:
        compose_config([*overrides, f"{setting}={given}"])
    (mended,) = shlex.split(re.search(r"have a backslash in front: (.*)", str(told.value))[1])
    assert compose_config([*overrides, mended])["caption"][setting.partition(".")[2]] == meant


def test_a_list_that_no_backslash_mends_is_no_text():
    with pytest.raises(UserError, match="mend the list or dict, or write it into a file"):
        compose_config(["+experiment=smoke", "caption=tagger", "caption.excluded_tags=[a,b"])


def test_a_path_and_a_slash_behind_it_are_understood_and_other_values_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("data/raw/my dog", "elsewhere/cat"):
        (tmp_path / folder).mkdir(parents=True)
    for given in ("my dog", "my dog/", "data/raw/my dog", "./data/raw/my dog/", str(tmp_path / "data/raw/my dog")):
        assert quote_names([f"+prepare.dataset={given}"]) == ["+prepare.dataset='my dog'"]
    others = ["prepare.dataset=elsewhere/cat", "prepare.dataset=a,b", "prepare.dataset='my dog'", "train.steps=3", "-m"]
    assert quote_names(others) == others
