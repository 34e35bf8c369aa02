"""Finding a model: folders, hub ids, and what people mistype."""

import struct

import pytest

from lorakiln.console.errors import UserError
from lorakiln.families.identity import hash_quickly
from lorakiln.families.model_source import find_model_folder, list_weight_files


def test_a_local_folder_is_itself(tmp_path):
    assert find_model_folder(str(tmp_path), None, []) == tmp_path
    with pytest.raises(UserError, match="no revisions"):
        find_model_folder(str(tmp_path), "main", [])


@pytest.mark.parametrize("path", ["./none", "/none/here", "models/tiny/none", "tests/none"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(path):
    with pytest.raises(UserError, match="no such folder"):
        find_model_folder(path, None, [])


def test_the_folders_beside_a_missing_one_are_told(tmp_path):
    (tmp_path / "right").mkdir()
    with pytest.raises(UserError, match="right"):
        find_model_folder(str(tmp_path / "wrong"), None, [])


def test_single_files_are_refused_where_a_folder_is_wanted(tmp_path):
    with pytest.raises(UserError, match="a folder is wanted.*\n.*model.path"):
        find_model_folder(str(tmp_path / "model.safetensors"), None, [])


def test_no_network(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be reached.*\n.*hf download owner/name"):
        find_model_folder("owner/name", None, ["*.json"])


def test_a_name_that_no_hub_has():
    with pytest.raises(UserError, match="no such local folder"):
        find_model_folder("not a name!", None, [])


def test_weight_files_by_variant(tmp_path):
    names = [
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.non_ema.safetensors",
        "diffusion_pytorch_model.bf16-00001-of-00002.safetensors",
    ]
    for name in names:
        (tmp_path / name).touch()
    for variant, expected in (
        (None, names[0]),
        ("fp16", names[1]),
        ("non_ema", names[2]),
        ("bf16", names[3]),
        ("fp8", names[0]),  # where the folder has no such variant, what it has
    ):
        assert [path.name for path in list_weight_files(tmp_path, variant)] == [expected]
    (tmp_path / names[0]).unlink()
    with pytest.raises(UserError, match="'fp8'.*\n.*there are: .*fp16"):
        list_weight_files(tmp_path, "fp8")


def test_large_files_are_known_by_size_header_and_slices(tmp_path):
    header = b'{"a": 1}'.ljust(64)
    whole = bytearray(struct.pack("<Q", len(header)) + header + bytes(8_000_000))
    file = tmp_path / "x.safetensors"

    def seen(at: int) -> bool:
        changed = bytearray(whole)
        changed[at] += 1
        file.write_bytes(changed)
        return hash_quickly(file, whole=1000) != expected

    file.write_bytes(whole)
    expected = hash_quickly(file, whole=1000)
    assert [seen(at) for at in (10, 80, 1_000_000, 4_000_000, len(whole) - 1)] == [True] * 5
    assert not seen(2_000_000)  # between the slices: what the comment there says
    file.write_bytes(whole + b"\0")
    assert hash_quickly(file, whole=1000) != expected
    file.write_bytes(whole[:2_000_000] + b"\1" + whole[2_000_001:])
    assert hash_quickly(file) != expected
