"""`lorakiln captions export` and `diff`: a captioned folder beside the dataset that it was made of."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl, write_jsonl
from lorakiln.caption import caption
from lorakiln.cli import main
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings

PREPARE = PrepareSettings(dataset="raw", resolution=32, bucket={"min": 16, "max": 64, "step": 16}, workers=1)


class MadeUpCaptioner:
    """Writes by colour, and counts what it was asked."""

    asked = 0

    def identify(self):
        return {"kind": "made up"}

    def write(self, pictures, done):
        for path in pictures:
            MadeUpCaptioner.asked += 1
            done(1, "")
            yield f"a picture of {np.asarray(Image.open(path)).mean():.0f}"


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A raw folder of three pictures, one with a caption of its own, and what is made of it."""
    raw = tmp_path / "raw"
    (raw / "deep").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "deep/c")):
        Image.new("RGB", (32, 32), (60 * number,) * 3).save(raw / f"{name}.png")
    (raw / "b.txt").write_text("by hand")
    monkeypatch.setattr("lorakiln.captioners.blip.make_captioner", lambda *_: MadeUpCaptioner())
    return Dataset(tmp_path)


class Dataset:
    def __init__(self, folder):
        self.folder, self.raw, self.out = folder, folder / "raw", folder / "captioned"
        self.settings = BlipSettings(trigger="sks cat", prefix="photo of,", suffix=", best")
        prepare(self.raw, folder / "prepared", PREPARE)

    def caption(self):
        """The texts by the pictures' names."""
        caption(self.folder / "prepared", self.raw, self.out, self.settings, Source(path="./nowhere"))
        return {row["file_name"]: row["text"] for row in read_jsonl(self.out / "metadata.jsonl")}

    def edit_output(self, **texts):
        rows = read_jsonl(self.out / "metadata.jsonl")
        for row in rows:
            row["text"] = texts.get(row["file_name"].split(".")[0], row["text"])
        write_jsonl(self.out / "metadata.jsonl", rows)

    def run(self, command, *options):
        return main(["captions", command, str(self.raw), "--captioned", str(self.out), *options])

    def files(self):
        return {path.relative_to(self.raw).as_posix(): path.read_text() for path in sorted(self.raw.rglob("*.txt"))}


@pytest.mark.parametrize("in_files", [True, False])
def test_exported_captions_make_the_same_texts_and_are_not_asked_for_again(dataset, capsys, in_files):
    if not in_files:
        dataset.settings = BlipSettings(trigger="sks cat", trigger_in_files=False)
    before = dataset.caption()
    assert dataset.run("export", "--dry-run") == 0
    assert list(dataset.files()) == ["b.txt"] and "2 files would be written; 1 picture" in capsys.readouterr().out
    assert dataset.run("export") == 0
    bare = "" if in_files else "sks cat, "
    assert dataset.files() == {
        "a.txt": f"{bare}a picture of 0\n",
        "b.txt": "by hand",
        "deep/c.txt": f"{bare}a picture of 120\n",
    }
    assert dataset.run("diff") == 0
    asked = MadeUpCaptioner.asked
    assert dataset.caption() == before and MadeUpCaptioner.asked == asked
    # Another call has nothing to write, and writes over nothing.
    (dataset.raw / "a.txt").write_text("mine")
    assert dataset.run("export") == 0 and dataset.files()["a.txt"] == "mine"


def test_a_file_wins_over_the_captioner_in_every_later_run(dataset, capsys):
    dataset.caption()
    (dataset.raw / "a.txt").write_text("a black square")
    (dataset.raw / "b.txt").write_text("")
    capsys.readouterr()
    assert dataset.run("diff") == 1
    told = capsys.readouterr().out
    assert (
        "a.png: a.txt\n  - sks cat, photo of, a picture of 0 , best\n  + sks cat, photo of, a black square , best"
        in told
    )
    assert "b.png: b.txt cannot be used: empty\n  - sks cat, photo of, by hand , best\n2 captions will change\n" in told
    (dataset.raw / "b.txt").unlink()
    assert dataset.run("diff") == 1
    assert "b.png: b.txt is gone: the captioner writes" in capsys.readouterr().out
    for _ in range(2):
        assert dataset.caption()["a.png"] == "sks cat, photo of, a black square , best"


def test_pictures_that_came_and_went_are_told(dataset, capsys):
    dataset.caption()
    (dataset.raw / "a.png").rename(dataset.raw / "z.png")
    assert dataset.run("diff") == 1
    told = capsys.readouterr().out
    assert "a.png: the picture is not there any more" in told and "z.png: a new picture" in told


def test_edits_of_the_output_are_refused_exported_and_kept(dataset, capsys):
    dataset.caption()
    dataset.edit_output(a="sks cat, photo of, my words , best")
    assert dataset.run("diff") == 1
    assert "a.png: edited in the output, which the next run refuses to undo" in capsys.readouterr().out
    with pytest.raises(UserError, match="1 caption edited here.*a.png") as caught:
        dataset.caption()
    assert f"lorakiln captions export {dataset.raw}" in str(caught.value)
    assert dataset.run("export") == 0 and dataset.files()["a.txt"] == "my words\n"
    assert dataset.caption()["a.png"] == "sks cat, photo of, my words , best"
    assert dataset.run("diff") == 0


def test_an_edit_that_no_file_can_say_or_that_a_file_contradicts_is_told(dataset, capsys):
    dataset.caption()
    dataset.edit_output(a="without any of them", b="sks cat, photo of, other words , best")
    assert dataset.run("export") == 1
    told = capsys.readouterr().err
    assert "not written: a.png: trigger words, prefix and suffix cannot be taken off" in told
    assert "not written: b.png: b.txt is there and wins: edit that one" in told
    assert dataset.files()["b.txt"] == "by hand" and "a.txt" not in dataset.files()
    (dataset.raw / "b.txt").write_text("other words")
    with pytest.raises(UserError, match=r"1 caption edited here.*: a\.png"):
        dataset.caption()


def test_another_dataset_and_an_empty_folder_are_refused(dataset, capsys, tmp_path):
    assert dataset.run("export") == 1
    assert "run `dvc repro caption` first" in capsys.readouterr().err
    dataset.caption()
    dataset.raw.rename(tmp_path / "other")
    dataset.raw = tmp_path / "other"
    assert dataset.run("diff") == 1
    assert "holds the captions of the dataset raw" in capsys.readouterr().err
    assert dataset.run("export", "--captioned", str(tmp_path / "none")) == 1


def test_settings_that_read_no_files_are_told(dataset, capsys):
    dataset.settings = BlipSettings(precedence=["metadata"])
    dataset.caption()
    assert dataset.run("export") == 1
    assert "put sidecar into caption.precedence" in capsys.readouterr().err
