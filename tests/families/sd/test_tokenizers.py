"""Where a model's tokenizer comes from, and when it is none of its own."""

import shutil
from pathlib import Path

import pytest

from lorakiln.artefacts.json_files import read_json
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.borrowed_configs import borrow_configs
from lorakiln.families.sd.versions import SD1
from tests.conftest import write_text
from tests.families.sd.conftest import assert_same


def test_the_tokenizer_is_clips_or_is_asked_for(single, tmp_path):
    model = single.model_copy(update={"config": None})
    with pytest.raises(
        UserError, match=r"(?s)nor has model.clip: no vocab.json.*FOLDER/tokenizer.*model.config=FOLDER"
    ):
        borrow_configs(
            model.model_copy(update={"clip": model.clip.model_copy(update={"path": str(tmp_path)})}), SD1.architecture
        )
    far = model.model_copy(update={"clip": model.clip.model_copy(update={"path": "owner/clip"})})
    with pytest.raises(
        UserError, match=r"(?s)model.safetensors: a single file has no tokenizer.*owner/clip.*model.config=FOLDER"
    ):
        borrow_configs(far, SD1.architecture)


@pytest.mark.parametrize("gone", [("vocab.json",), ("merges.txt",), ("vocab.json", "merges.txt"), ()])
def test_a_folders_missing_tokenizer_is_told_by_the_folders_name(micro_model, tmp_path, gone):
    folder = tmp_path / "mine"
    shutil.copytree(micro_model.path, folder, ignore=None if gone else shutil.ignore_patterns("tokenizer"))
    for name in gone:
        (folder / "tokenizer" / name).unlink()
    with pytest.raises(UserError) as told:
        load_family(micro_model.model_copy(update={"path": str(folder)}), ("text",))
    message, missing = str(told.value), gone or ("vocab.json", "merges.txt")
    assert message.startswith(f"{folder / 'tokenizer'}: no tokenizer there: {' and '.join(missing)} missing")
    assert "models/tiny" not in message and "vocab.json and merges.txt" in message.splitlines()[1]


def test_another_models_tokenizer_in_a_folder_is_told_by_the_folders_name(micro_model, tmp_path):
    shutil.copytree(micro_model.path, tmp_path / "mine", ignore=shutil.ignore_patterns("tokenizer"))
    shutil.copytree("models/tiny/sd/tokenizer", tmp_path / "mine" / "tokenizer")
    with pytest.raises(UserError, match=r"(?s)mine/tokenizer: this tokenizer has 1166 .* own tokenizer there") as told:
        load_family(micro_model.model_copy(update={"path": str(tmp_path / "mine")}), ("text",))
    assert "models/tiny" not in str(told.value)


def test_clips_own_tokenizer_serves(single, micro_model, micro_family, tmp_path):
    """A folder that lends all but the tokenizer: that is taken from `model.clip`."""
    lender, clip = tmp_path / "lender", tmp_path / "clip"
    shutil.copytree(micro_model.path, lender, ignore=shutil.ignore_patterns("tokenizer"))
    clip.mkdir()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(Path(micro_model.path) / "tokenizer" / name, clip)
    changes = {"config": str(lender), "clip": single.clip.model_copy(update={"path": str(clip)})}
    found = load_family(single.model_copy(update=changes))
    assert found.tokenizer.pad_token == "<|endoftext|>" and found.max_tokens == micro_family.max_tokens
    assert_same(found, micro_family)
    changes["clip"] = single.clip
    with pytest.raises(UserError, match=r"(?s)this tokenizer has 1166 tokens, the model's text encoder .*FOLDER"):
        load_family(single.model_copy(update=changes), ("text",))


def test_a_tokenizer_of_more_tokens_than_the_text_encoder_is_refused(single, micro_model, tmp_path):
    lender = tmp_path / "lender"
    shutil.copytree(micro_model.path, lender)
    file = lender / "tokenizer/vocab.json"
    write_text(file, read_json(file) | {"one more</w>": 526, "and more</w>": 527})
    with pytest.raises(UserError, match=r"(?s)this tokenizer has .* tokens, the model's text encoder .*FOLDER"):
        load_family(single.model_copy(update={"config": str(lender)}), ("text",))
