"""Tensors written and read one at a time: the same file, the same numbers."""

import pytest
import torch

from lorakiln.artefacts.tensor_files import TensorFile, save_tensors, stream_tensors
from lorakiln.console.errors import UserError

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a": torch.tensor([1.5, 2], dtype=torch.bfloat16),
    "none": torch.zeros(0, 4),
    "scalar": torch.tensor(3),
    "yes": torch.tensor([True, False]),
}
LAYOUT = {name: (value.dtype, tuple(value.shape)) for name, value in TENSORS.items()}


def test_the_stream_asks_in_the_files_order_and_writes_its_bytes(tmp_path):
    asked = []
    save_tensors(tmp_path / "saved", TENSORS, {"who": "me"})
    stream_tensors(tmp_path / "streamed", LAYOUT, lambda name: (asked.append(name), TENSORS[name])[1], {"who": "me"})
    assert asked == sorted(TENSORS)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "saved").read_bytes()


def test_each_tensor_is_read_alone(tmp_path):
    save_tensors(tmp_path / "file", TENSORS, {"who": "me"})
    file = TensorFile(tmp_path / "file")
    assert file.layout == LAYOUT and file.metadata == {"who": "me"}
    for name, value in TENSORS.items():
        found = file.read(name)
        assert found.dtype == value.dtype and torch.equal(found, value)


def test_a_tensor_is_converted_as_it_is_read(tmp_path):
    stored = {
        "halves": torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).half(),
        "none": torch.zeros(0, 4),
        "scalar": torch.tensor(3.25),
        "singles": torch.randn(9, generator=torch.Generator().manual_seed(1)),
    }
    save_tensors(tmp_path / "file", stored)
    file = TensorFile(tmp_path / "file")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for name, value in stored.items():
            found = file.read(name, dtype)
            assert found.dtype == dtype and torch.equal(found, value.to(dtype)), (name, dtype)
            found.zero_()
            assert torch.equal(file.read(name, dtype), value.to(dtype)), (name, dtype)  # it was the caller's own


def test_a_file_that_became_shorter_is_told(tmp_path):
    save_tensors(tmp_path / "file", {"a": torch.ones(1000)})
    file = TensorFile(tmp_path / "file")
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-1])
    for dtype in (None, torch.float16):
        with pytest.raises(UserError, match="ends before its tensors do"):
            file.read("a", dtype)


def test_a_tensor_of_another_shape_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"b has the shape \(3,\), \(2, 3\) was announced"):
        stream_tensors(tmp_path / "file", LAYOUT, lambda name: torch.zeros(3) if name == "b" else TENSORS[name])
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def test_damage_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        TensorFile(tmp_path / "nothing")
    save_tensors(tmp_path / "file", TENSORS)
    content = (tmp_path / "file").read_bytes()
    for damaged in (content[:-1], content[:20], b""):
        (tmp_path / "file").write_bytes(damaged)
        with pytest.raises(UserError, match="not a readable safetensors file"):
            TensorFile(tmp_path / "file")
