"""An output is as it would be made again, or is made again: which of both, by its files and those it was made of."""

import json
import os
import shutil

import pytest

from lorakiln.artefacts import output_record
from lorakiln.artefacts.output_record import OutputRecord, list_folder, locate_record


@pytest.fixture
def folder(tmp_path):
    """`in` with two files, one of them hidden, and `out`, made of them; all of it rests since long ago."""
    write(tmp_path / "in" / "a.png", "a")
    write(tmp_path / "in" / ".masks" / "a.png", "mask")
    with record(tmp_path).keeping():
        write(tmp_path / "out" / "rows.jsonl", "rows")
        write(tmp_path / "out" / ".masks" / "a.png", "mask")
    assert record(tmp_path).is_current()
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def record(folder, key="key"):
    return OutputRecord(folder / "out", key, lambda: list_folder("in", folder / "in"))


def rest(monkeypatch):
    """From here on all files have been written long enough ago."""
    monkeypatch.setattr(output_record, "SETTLED", -1.0)


CHANGES = {
    "an input": lambda folder: write(folder / "in/a.png", "b"),
    "a hidden input": lambda folder: write(folder / "in/.masks/a.png", "ksam"),
    "another input": lambda folder: write(folder / "in/b.png", "b"),
    "an input less": lambda folder: (folder / "in/a.png").unlink(),
    "the output": lambda folder: write(folder / "out/rows.jsonl", "swor"),
    "a hidden file of the output": lambda folder: write(folder / "out/.masks/a.png", "ksam"),
    "the output is away": lambda folder: shutil.rmtree(folder / "out"),
    "what a stopped run kept": lambda folder: write(folder / ".out.kept/a.png", "a"),
    "a swap that was cut off": lambda folder: write(folder / ".out.complete", ""),
    "a list of what was refused": lambda folder: write(folder / "out.quarantine.jsonl", ""),
    "the record is away": lambda folder: locate_record(folder / "out").unlink(),
    "the record is torn": lambda folder: os.truncate(locate_record(folder / "out"), 50),
    "the record is another's": lambda folder: write(locate_record(folder / "out"), "[1]"),
}


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(folder, change, settled, monkeypatch):
    if settled:
        rest(monkeypatch)
        assert record(folder).is_current()
    CHANGES[change](folder)
    assert not record(folder).is_current()


def test_what_a_run_that_was_killed_left_of_its_record_goes_with_the_next_one(folder):
    left = folder / ".out.made.0123abcd.part"
    write(left, "half")
    assert record(folder).is_current() and left.exists()
    with record(folder).keeping():
        write(folder / "out" / "rows.jsonl", "others")
    assert record(folder).is_current() and not left.exists()


def test_another_key_is_another_output(folder):
    assert not record(folder, "other settings").is_current() and record(folder).is_current()


def test_other_files_of_the_same_content_are_the_same(folder, monkeypatch):
    rest(monkeypatch)
    shutil.copytree(folder / "out", folder / "copy")
    shutil.rmtree(folder / "out")
    (folder / "copy").rename(folder / "out")
    assert record(folder).is_current()


def test_what_has_not_changed_is_not_read_again(folder, monkeypatch):
    rest(monkeypatch)
    assert record(folder).is_current()
    monkeypatch.setattr(output_record, "hash_file", lambda path: pytest.fail(f"{path} is read"))
    assert record(folder).is_current()


def test_a_file_that_was_just_written_is_read_again(folder):
    """Written once more within a tick of its clock it has the same state; here it is given back on purpose."""
    before = (folder / "in/a.png").stat()
    (folder / "in/a.png").write_text("b")
    os.utime(folder / "in/a.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not record(folder).is_current()


def test_a_file_whose_time_was_put_back_is_read_again(folder, monkeypatch):
    rest(monkeypatch)
    assert record(folder).is_current()
    before = (folder / "in/a.png").stat()
    (folder / "in/a.png").write_text("b")
    os.utime(folder / "in/a.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not record(folder).is_current()


def test_what_was_changed_meanwhile_is_not_recorded(folder):
    before = locate_record(folder / "out").read_bytes()
    with record(folder).keeping():
        write(folder / "in/a.png", "after it was read")
    assert locate_record(folder / "out").read_bytes() == before and not record(folder).is_current()


def test_what_fails_is_not_recorded(folder):
    write(folder / "in/a.png", "another")
    before = locate_record(folder / "out").read_bytes()
    with pytest.raises(ValueError, match="no"), record(folder).keeping():
        raise ValueError("no")
    assert locate_record(folder / "out").read_bytes() == before and not record(folder).is_current()


def test_large_files_are_known_by_their_state_alone(folder, monkeypatch):
    monkeypatch.setattr(output_record, "LARGE", 0)
    monkeypatch.setattr(output_record, "hash_file", lambda path: pytest.fail(f"{path} is read"))
    with record(folder).keeping():
        pass
    assert not record(folder).is_current()  # so soon after they were written nothing is known of them
    rest(monkeypatch)
    with record(folder).keeping():
        pass
    assert record(folder).is_current()
    shutil.copy2(folder / "in/a.png", folder / "in/copy.png")
    os.replace(folder / "in/copy.png", folder / "in/a.png")
    assert not record(folder).is_current()


def test_what_must_not_be_opened_counts_by_its_name(folder):
    os.mkfifo(folder / "in/pipe")
    (folder / "in/nothing").symlink_to("nowhere")
    (folder / "in/endless").symlink_to("/dev/zero")
    with record(folder).keeping():
        pass
    assert record(folder).is_current()
    told = json.loads(locate_record(folder / "out").read_text())["files"]
    assert [told[f"in/{name}"][4] for name in ("pipe", "nothing", "endless")] == ["", "", ""]
    (folder / "in/pipe").unlink()
    assert not record(folder).is_current()


def test_the_record_before_has_read_the_files_already(folder, monkeypatch):
    """A stage's inputs are what the one before has written: of large datasets nothing is read twice."""
    rest(monkeypatch)
    assert record(folder).is_current()
    read, hash_file = [], output_record.hash_file
    monkeypatch.setattr(output_record, "hash_file", lambda path: (read.append(path.name), hash_file(path))[1])
    following = OutputRecord(folder / "page.html", "", lambda: list_folder("out", folder / "out"))
    with following.keeping():
        (folder / "page.html").write_text("page")
    assert read == ["page.html"] and following.is_current()
