"""Every option of kohya's and diffusers' scripts is told, with settings that there are."""

import re
from pathlib import Path

import pytest

from hydra_plugins.lorakiln_conf.nearest import list_settings
from lorakiln.schema.other_trainers import OTHER_NAMES, diffusers, sd_scripts, translate_setting
from lorakiln.schema.other_trainers.option import Option
from pipelines.option_tables import PAGES, replace_tables
from tests.conf.test_compose import GROUPS, compose

PROGRAMS = {"sd_scripts": sd_scripts.SECTIONS, "diffusers": diffusers.SECTIONS}
CHOICES = {group.partition("=")[0] for group in GROUPS} | {"experiment"}
# What names a section in a table: options that are many settings.
SECTIONS = {"train.adapter", "train.optimizer", "train.scheduler"}


def list_options(program: str) -> list[Option]:
    return [option for options in PROGRAMS[program].values() for option in options]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_is_told_once_and_no_other(program):
    lines = (Path(__file__).parent / f"options/{program}.txt").read_text().splitlines()
    told = [name for option in list_options(program) for name in option.theirs]
    assert sorted(told) == sorted(line for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_it_is_called_here_is_there(program):
    known = {*list_settings(), *SECTIONS}
    for option in list_options(program):
        assert option.ours or option.remark, f"{option.theirs} has no counterpart, and no reason"
        for name in option.ours:
            setting, _, value = name.removeprefix("+").partition("=")
            assert setting in known or setting in CHOICES, (option.theirs, name)
            if setting in CHOICES and value != "NAME":
                assert Path(f"conf/{setting}/{value}.yaml").is_file(), name


@pytest.mark.parametrize("program", PROGRAMS)
def test_overrides_that_the_tables_show_compose(program):
    shown = {name for option in list_options(program) for name in option.ours if "=" in name}
    for override in sorted(name for name in shown if not name.endswith("=NAME")):
        compose("+experiment=smoke", "train.scheduler.warmup_steps=0", override)


@pytest.mark.parametrize("page", PAGES)
def test_the_page_has_the_tables(page):
    text = Path(page).read_text()
    assert text == replace_tables(text, PAGES[page]), "run python -m pipelines.option_tables"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("train.learning_rate", "train.optimizer.lr"),
        ("network-dim", "train.adapter.rank"),
        ("max_train_steps", "train.steps"),
        ("peft.r", "train.adapter.rank"),
        ("snr_gamma", "train.objective.min_snr_gamma"),
        ("adam_beta1", "train.optimizer.betas"),
        ("deepspeed", None),
        ("stepz", None),
    ],
)
def test_a_name_of_theirs_is_translated(name, ours):
    assert translate_setting(name) == ours


def test_words_that_are_no_options_lead_to_settings_too():
    known = set(list_settings())
    for told in OTHER_NAMES.values():
        setting = re.split("[,=]", told)[0]
        assert setting in known or setting in CHOICES, told
