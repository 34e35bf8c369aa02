"""A dataset whose folder has a name with all that grammars have, through both doors."""

import shutil

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAME = '-it\'s (1), "我" [2024]'


def test_both_doors_take_the_name_as_it_is(own_project):
    raw = own_project.folder / "data/raw" / NAME
    raw.mkdir()
    for name in ("apple.png", "banana.png"):
        shutil.copy(own_project.folder / "data/raw/demo_style" / name, raw)
    params = {"experiment": "smoke", "dataset": NAME, "overrides": []}
    (own_project.folder / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True))
    assert "prepare: 2 pictures" in own_project.run("dvc", "repro", "prepare")
    assert "didn't change" in own_project.run("dvc", "repro", "prepare")
    # DVC looks at this folder, and at no other.
    shutil.copy(own_project.folder / "data/raw/demo_style/balloon.png", raw)
    assert "prepare: 3 pictures (2 reused)" in own_project.run("dvc", "repro", "prepare")
    given = ("python", "-m", "train", "+experiment=smoke", f"prepare.dataset={NAME}", "--cfg", "job")
    shown = yaml.safe_load(own_project.run(*given, "--package", "prepare"))
    assert shown["dataset"] == NAME
