"""Tensors written in place: the same file as when written at once."""

import pytest
import torch

from lorakiln.artefacts.tensor_files import load_tensors, mapped_tensors, save_tensors
from lorakiln.console.errors import UserError

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a": torch.tensor([1, 2, 3, 4], dtype=torch.float16),
    "none": torch.zeros(0, 4),
}
LAYOUT = {name: (value.dtype, value.shape) for name, value in TENSORS.items()}


def test_bytes_equal_those_of_save_tensors(tmp_path):
    save_tensors(tmp_path / "saved", TENSORS)
    with mapped_tensors(tmp_path / "mapped", LAYOUT) as tensors:
        assert all(not value.any() for value in tensors.values())
        for name, value in TENSORS.items():
            tensors[name].copy_(value)
    assert (tmp_path / "mapped").read_bytes() == (tmp_path / "saved").read_bytes()
    loaded, metadata = load_tensors(tmp_path / "mapped")
    assert metadata == {} and all(torch.equal(loaded[name], value) for name, value in TENSORS.items())


def test_an_error_in_the_block_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(RuntimeError), mapped_tensors(tmp_path / "file", LAYOUT) as tensors:
        tensors["a"].fill_(1)
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_more_than_the_disk_holds_is_refused_at_once(tmp_path):
    with (
        pytest.raises(UserError, match="cannot write"),
        mapped_tensors(tmp_path / "file", {"a": (torch.float32, (2**50,))}),
    ):
        raise AssertionError("the space was not reserved")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_safetensors_reads_what_save_tensors_writes(tmp_path, dtype):
    tensors = {"scalar": torch.tensor(1).to(dtype), "strided": torch.arange(6).reshape(2, 3).t().to(dtype)}
    save_tensors(tmp_path / "file", tensors, {"b": "2", "a": "1"})
    loaded, metadata = load_tensors(tmp_path / "file")
    assert metadata == {"a": "1", "b": "2"}
    for name, value in tensors.items():
        assert loaded[name].dtype == dtype and torch.equal(loaded[name], value)
