"""What DVC compares of the files that the training's settings name: `compose` writes their digests."""

import shutil
from pathlib import Path

import pytest
import yaml

from lorakiln.console.errors import UserError
from pipelines import compose

ROOT = Path(__file__).parents[2]
TRAIN = Path("outputs/.code/train")


@pytest.fixture
def composed(tmp_path, monkeypatch):
    """Composes in a folder with this project's conf and pictures; what stands in every stage's digest."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str) -> dict[str, str]:
        told = {"experiment": "smoke", "dataset": "", "overrides": ["train.samples.prompts=[]", *overrides]}
        Path("params.yaml").write_text(yaml.safe_dump(told))
        compose.main()
        return {path.name: path.read_text() for path in TRAIN.parent.iterdir()}

    return run


def test_an_edited_file_of_prompts_is_another_training_and_nothing_else(composed, capsys):
    prompts = Path("conf/prompts.txt")
    prompts.write_text("a cat --d 1\n")
    setting = f"train.samples.file={prompts}"
    before = composed(setting)
    assert before == composed(setting) and "warning" not in capsys.readouterr().err
    prompts.write_text("a dog --d 1\n")
    after = composed(setting)
    assert {stage for stage in before if before[stage] != after[stage]} == {"train"}
    # Without such a file nothing but the code is told: what is trained already stays.
    assert len(composed()["train"].splitlines()) == 1
    # DVC looks at the folder that it lies in.
    assert "conf" in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["compose"]["deps"]


def test_a_file_that_dvc_does_not_look_at_is_told(composed, capsys):
    Path("prompts.txt").write_text("a cat\n")
    composed("train.samples.file=prompts.txt")
    assert "`dvc repro` does not look at prompts.txt" in capsys.readouterr().err


def test_a_file_of_prompts_that_is_not_there_is_told_before_the_pictures_are_encoded(composed):
    with pytest.raises(UserError, match=r"cannot be read"):
        composed("train.samples.file=conf/none.txt")


def test_another_lora_to_go_on_from_is_another_training(composed):
    Path("start.safetensors").write_bytes(b"one")
    setting = "train.adapter.init_from=start.safetensors"
    before = composed(setting)
    Path("start.safetensors").write_bytes(b"two")
    after = composed(setting)
    assert {stage for stage in before if before[stage] != after[stage]} == {"train"}
