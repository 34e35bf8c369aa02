"""Files are written under names that are nobody else's."""

import errno
import os
from pathlib import Path

import pytest
import torch
from filelock import lock_descriptor

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.atomic_file import opening_locked, remove_abandoned, replacing_file
from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.json_files import write_text
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError, explain_error
from lorakiln.lora_files.writing import write_lora


def test_what_lies_beside_is_left_alone(tmp_path):
    beside = {name: f"precious {name}" for name in ("x.scratch", "x.safetensors.part", "x.json.part", "x.part")}
    for name, text in beside.items():
        (tmp_path / name).write_text(text)
    layer = Layer(torch.ones(2, 4), torch.ones(4, 2), 1.0)
    write_lora(Adapter({"unet.mid_block.attentions.0.proj_in": layer}), tmp_path / "x.safetensors", "kohya")
    save_tensors(tmp_path / "x.safetensors", {"a": torch.ones(2)})
    write_text(tmp_path / "x.json", "{}")
    found = {path.name: path.read_text("latin-1") for path in tmp_path.iterdir()}
    assert set(found) == {*beside, "x.safetensors", "x.json"}
    assert {name: found[name] for name in beside} == beside


@pytest.mark.parametrize("write", [lambda path: save_tensors(path, {"a": torch.ones(1)}), lambda p: write_text(p, "")])
def test_where_nothing_can_be_written_the_wanted_file_is_named(write):
    wanted = Path("/proc/self/x.bin")  # not even by root
    with pytest.raises(OSError) as told:
        write(wanted)
    explained = explain_error(told.value)
    assert explained and explained.where == str(wanted) and ".part" not in str(explained)


def test_where_nothing_may_be_written_too(tmp_path):
    wanted = tmp_path / "x.bin"
    with pytest.raises(UserError) as told, explaining_disk_errors(wanted), replacing_file(wanted) as beside:
        raise PermissionError(errno.EACCES, "Permission denied", str(beside))
    assert told.value.where == str(wanted)


@pytest.mark.parametrize("name", ["n" * 255, "名" * 85, "\udcff" * 255])
def test_the_longest_names_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_two_writers_of_one_file_have_two_names(tmp_path):
    with replacing_file(tmp_path / "x") as one, replacing_file(tmp_path / "x") as two:
        one.write_text("1")
        two.write_text("2")
        assert one != two and one.read_text() == "1" and one.suffix == two.suffix == ".part"
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_part_is_not(tmp_path):
    names = ("x[1].0123abcd.part", "x[1].part", "x[1].0123abcz.part", "x1.0123abcd.part")
    for name in names:
        (tmp_path / name).write_text("half")
    (tmp_path / "x[1].00000000.part").symlink_to(tmp_path / "x[1].part")
    os.mkfifo(tmp_path / "x[1].11111111.part")
    with replacing_file(tmp_path / "x[1]") as beside, opening_locked(beside) as file:
        remove_abandoned(tmp_path / "x[1]")
        file.write(b"whole")
        assert beside.exists()
        os.replace(beside, tmp_path / "x[1]")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"x[1]", *names[1:], "x[1].00000000.part"}
    assert (tmp_path / "x[1]").read_bytes() == b"whole" and (tmp_path / "x[1].part").read_text() == "half"


def test_a_part_that_was_taken_away_before_its_lock_is_written_again(tmp_path, monkeypatch):
    taken = []

    def lock(handle, **settings):
        if not taken:
            taken.append(next(tmp_path.iterdir()).unlink())
        return lock_descriptor(handle, **settings)

    monkeypatch.setattr("lorakiln.artefacts.atomic_file.lock_descriptor", lock)
    write_text(tmp_path / "x", "whole")
    assert taken and (tmp_path / "x").read_text() == "whole"


@pytest.mark.parametrize("write", [lambda path: save_tensors(path, {"a": torch.ones(1)}), lambda p: write_text(p, "")])
def test_a_folder_of_that_name_or_a_file_above_is_said_so(tmp_path, write):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="folder: cannot write: Is a directory"):
        write(tmp_path / "folder")
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "file" / "below")
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "file" / "far" / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
