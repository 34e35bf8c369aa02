"""Tensors written in place: the same file as when written at once, and little of it in memory."""

from pathlib import Path

import pytest
import torch

from lorakiln.artefacts import tensor_files
from lorakiln.artefacts.tensor_files import TensorFile, load_tensors, mapped_tensors, save_tensors
from lorakiln.console.errors import UserError

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a": torch.tensor([1, 2, 3, 4], dtype=torch.float16),
    "none": torch.zeros(0, 4),
}
LAYOUT = {name: (value.dtype, value.shape) for name, value in TENSORS.items()}
ROWS = {
    "a": torch.arange(2**22, dtype=torch.float32).reshape(64, -1),
    "b": torch.arange(2**21, dtype=torch.int32).reshape(64, -1),
}
WHOLE = sum(value.nbytes for value in ROWS.values())
HELD = WHOLE // 16


def count_held(folder: Path) -> int:
    """Bytes of the folder's files that are mapped and in memory."""
    held, counts = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            held = f"{folder}/" in line
        elif held and line.startswith("Rss:"):
            counts += 1024 * int(line.split()[1])
    return counts


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


def test_what_is_written_row_by_row_does_not_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_files, "HELD", HELD)
    save_tensors(tmp_path / "saved", ROWS)
    most = 0
    with mapped_tensors(tmp_path / "mapped", {name: (one.dtype, one.shape) for name, one in ROWS.items()}) as tensors:
        for number in range(64):
            tensors.write_row(number, {name: value[number] for name, value in ROWS.items()})
            most = max(most, count_held(tmp_path)) if number % 4 == 2 else most
        assert HELD / 2 < most < WHOLE / 2  # the system maps more than it is asked for
        assert torch.equal(tensors["a"], ROWS["a"])  # it can be read again
    assert count_held(tmp_path) == 0  # also where somebody goes on to hold the tensors
    assert torch.equal(tensors["b"], ROWS["b"])
    assert (tmp_path / "mapped").read_bytes() == (tmp_path / "saved").read_bytes()


def test_what_is_read_row_by_row_does_not_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_files, "HELD", HELD)
    save_tensors(tmp_path / "file", ROWS | {"none": torch.zeros(0, 4)})
    tensors, most = TensorFile(tmp_path / "file").map(), 0
    assert sorted(tensors) == ["a", "b", "none"]
    for number in range(64):
        found = tensors.read_row(number, ["a", "b"])
        assert all(torch.equal(value, ROWS[name][number]) for name, value in found.items())
        most = max(most, count_held(tmp_path)) if number % 4 == 2 else most
    assert HELD / 2 < most < WHOLE / 2
