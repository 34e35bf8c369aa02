"""kohya's folders: repeats, class tokens and regularisation, from the folders' names to what is trained on."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.prepare import prepare
from lorakiln.rows import EncodedRow
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import ValidationSettings
from lorakiln.sources import Subset, open_source
from lorakiln.sources.folder import Folder
from lorakiln.train.encoded_dataset import Bucket
from lorakiln.train.validation_split import hold_out, repeat_rows

SETTINGS = {"dataset": "raw", "resolution": 32, "bucket": {"min": 16, "max": 64, "step": 16}, "workers": 1}


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / "raw"
    for number, name in enumerate(
        ("img/10_sks dog/a.png", "img/10_sks dog/b.png", "img/3_sks_cat/c.png", "reg/1_dog/r.png", "model/sample/s.png")
    ):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        shades = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(shades).save(raw / name)
    (raw / "img/10_sks dog/a.txt").write_text("on the grass")
    return raw


def test_folders_names_say_how_often_and_what_for(raw):
    found = open_source(raw).scan()
    assert found.subsets == {
        "img/10_sks dog/a.png": Subset(10, False, "sks dog"),
        "img/10_sks dog/b.png": Subset(10, False, "sks dog"),
        "img/3_sks_cat/c.png": Subset(3, False, "sks_cat"),
        "reg/1_dog/r.png": Subset(1, True, "dog"),
    }
    assert found.pictures == sorted(found.subsets) and found.aside == {"model/sample": 1}


@pytest.mark.parametrize(
    ("name", "is_tree"),
    [
        ("5_dog/a.png", True),
        ("img/5_dog/a.png", True),
        ("0_dog/a.png", False),  # no repeats at all
        ("2024_summer/a.png", False),  # a year
        ("dog_5/a.png", False),
        ("5_dog/notes.md", False),
    ],
)
def test_what_is_such_a_tree(tmp_path, name, is_tree):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"")
    assert (not isinstance(open_source(tmp_path), Folder)) == is_tree
    assert isinstance(open_source(tmp_path, kind="folder"), Folder)
    (tmp_path / name).parent.parent.joinpath("loose.png").write_bytes(b"")
    assert isinstance(open_source(tmp_path), Folder)


def test_the_stages_hand_it_on_and_the_trigger_is_for_the_subject_alone(raw, tmp_path, capsys):
    prepare(raw, tmp_path / "prepared", PrepareSettings(**SETTINGS))
    told = capsys.readouterr().out
    assert "img/10_sks dog: 2 x 10\n" in told and "reg/1_dog: 1 x 1, for regularisation\n" in told
    assert "not taken: model/sample (1 picture)" in told
    caption(tmp_path / "prepared", raw, tmp_path / "captioned", NobodySettings(trigger="sks"), Source(path="./nowhere"))
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "captioned" / "metadata.jsonl")}
    assert {name: (row["text"], row["caption_source"], row.get("repeats", 1)) for name, row in rows.items()} == {
        "img/10_sks dog/a.png": ("sks, on the grass", "file", 10),
        "img/10_sks dog/b.png": ("sks dog", "class_tokens", 10),
        "img/3_sks_cat/c.png": ("sks, sks_cat", "class_tokens", 3),
        "reg/1_dog/r.png": ("dog", "class_tokens", 1),
    }
    # Another number of repeats makes no picture anew, and is in the rows all the same.
    (raw / "img/3_sks_cat").rename(raw / "img/4_sks_cat")
    prepare(raw, tmp_path / "prepared", PrepareSettings(**SETTINGS))
    assert "4 pictures (4 reused)" in capsys.readouterr().out
    assert [row.get("repeats") for row in read_jsonl(tmp_path / "prepared" / "metadata.jsonl")] == [10, 10, 4, None]


def bucket(*rows):
    """A bucket of (repeats, is_reg)."""
    made = [
        EncodedRow(file_name=f"{i}", sha256=f"{i}", text="", key_picture="", key_caption="", repeats=times, is_reg=reg)
        for i, (times, reg) in enumerate(rows)
    ]
    return Bucket("32x32", made, None, None, {})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, False), (1, False)], [0, 1]),
        ([(3, False), (1, False)], [0, 0, 0, 1]),
        # Two subjects shown 4 times in all, regularised 4 times: once each, then round again.
        ([(2, False), (2, False), (1, True), (1, True), (1, True)], [0, 0, 1, 1, 2, 2, 3, 4]),
        # More than are needed: the first ones, by their own repeats.
        ([(3, False), (2, True), (2, True), (2, True)], [0, 0, 0, 1, 1, 2]),
    ],
)
def test_rows_are_shown_as_sd_scripts_shows_them(rows, expected):
    assert repeat_rows([bucket(*rows)], [list(range(len(rows)))]) == [expected]


def test_regularisation_pictures_are_not_held_out():
    rows = [(2, False)] * 8 + [(1, True)] * 8
    split = hold_out([bucket(*rows)], ValidationSettings(fraction=0.25))
    assert len(split.held_out[0]) == 2 and max(split.held_out[0]) < 8
    assert split.trained_count == 2 * 6 + 12 and split.picture_count == 6 + 8
