"""dataset.yaml: sizes, repeats and rules of a dataset's folders, as a kohya config says them, and what is refused."""

import pickle

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.caption import caption
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.review.collection import Rules, open_collection
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.sources import open_source
from lorakiln.sources.dataset_config import ConfiguredFolder
from lorakiln.tools.caption_changes import CaptionedDataset
from lorakiln.tools.caption_lint import lint_captions

OURS = """
captions: {shuffle: true}
class_tokens: sks  cat
datasets:
  - resolution: [64, 32]
    bucket: {no_upscale: true}
    flip: true
    batch_size: 2
    subsets:
      - folder: dogs
        repeats: 10
        class_tokens: sks dog
        masks: marks
        extension: .words
        prefix: photo of
        captions: {keep_tags: 1}
        caption_dropout: 0.25
      - folder: deep/cats
  - resolution: 32
    repeats: 3
    subsets:
      - {folder: reg, is_reg: true, lines: true, captions: {wildcards: true}}
      - {folder: unused, repeats: 0}
"""
KOHYA = """
[general]
shuffle_caption = true
class_tokens = "sks cat"
[[datasets]]
resolution = [64, 32]
bucket_no_upscale = true
flip_aug = true
batch_size = 2
  [[datasets.subsets]]
  image_dir = "dogs"
  num_repeats = 10
  class_tokens = "sks dog"
  conditioning_data_dir = "marks"
  caption_extension = ".words"
  caption_prefix = "photo of"
  keep_tokens = 1
  caption_dropout_rate = 0.25
  [[datasets.subsets]]
  image_dir = "deep/cats"
[[datasets]]
resolution = 32
num_repeats = 3
  [[datasets.subsets]]
  image_dir = "reg"
  is_reg = true
  enable_wildcard = true
  [[datasets.subsets]]
  image_dir = "unused"
  num_repeats = 0
"""
SIZES = {"dogs/a.png": (64, 32), "deep/cats/b.png": (96, 48), "reg/c.png": (96, 48), "unused/d.png": (32, 32)}
SETTINGS = PrepareSettings(dataset="raw", resolution=16, bucket={"min": 16, "max": 64, "step": 16}, workers=1)


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / "raw"
    for number, (name, (width, height)) in enumerate({**SIZES, "marks/a.png": (64, 32)}.items()):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        shades = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(shades).save(raw / name)
    (raw / "dogs/a.words").write_text("red,  on the grass")
    (raw / "reg/c.txt").write_text("a cat\nan old cat\n")
    (raw / "dataset.yaml").write_text(OURS)
    return raw


def make(raw, out):
    """The captioned rows by source."""
    prepare(raw, out / "prepared", SETTINGS)
    caption(out / "prepared", raw, out / "captioned", NobodySettings(trigger="sks"), Source(path="./nowhere"))
    return {row["source"]: row for row in read_jsonl(out / "captioned/metadata.jsonl")}


def test_each_dataset_has_its_size_and_each_subset_its_captions(raw, tmp_path, capsys):
    rows = make(raw, tmp_path)
    assert "read as dataset.yaml says" in capsys.readouterr().out
    # 64x32 has 2,048 pixels: what has more is shrunk to no more, and what has as many stays as it is.
    assert {name: (row["bucket"], row.get("repeats", 1), row.get("is_reg", False)) for name, row in rows.items()} == {
        "dogs/a.png": ("64x32", 10, False),
        "deep/cats/b.png": ("64x32", 1, False),
        "reg/c.png": ("32x32", 3, True),
    }
    assert rows["dogs/a.png"]["text"] == "sks, photo of red, on the grass" and rows["dogs/a.png"]["mask"]
    assert rows["deep/cats/b.png"]["text"] == "sks cat"
    assert [row["rules"].get("batch_size") for row in rows.values()] == [2, 2, None]
    assert (rows["reg/c.png"]["text"], rows["reg/c.png"]["alternatives"]) == ("a cat", ["an old cat"])
    # What the next run would make of the captions is told with their rules.
    assert CaptionedDataset(raw, tmp_path / "captioned").list_changes() == []


def test_a_kohya_config_that_says_the_same_is_the_same_training_set(raw, tmp_path):
    ours = make(raw, tmp_path / "ours")
    (raw / "dataset.yaml").unlink()
    (raw / "set.toml").write_text(KOHYA)
    assert make(raw, tmp_path / "kohya") == ours
    folders = [tmp_path / name / "captioned" for name in ("ours", "kohya")]
    assert len({read_json(folder / "dataset.json")["hash"] for folder in folders}) == 1
    pictures = [
        {name: (folder / name).read_bytes() for name in SIZES if (folder / name).exists()} for folder in folders
    ]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 3


def test_another_size_of_a_dataset_makes_its_own_pictures_anew(raw, tmp_path, capsys):
    make(raw, tmp_path)
    first = read_json(tmp_path / "prepared/dataset.json")["hash"]
    (raw / "dataset.yaml").write_text(OURS.replace("resolution: 32", "resolution: 48"))
    capsys.readouterr()
    assert make(raw, tmp_path)["reg/c.png"]["bucket"] == "64x32"
    assert "prepare: 3 pictures (2 reused)" in capsys.readouterr().out
    assert read_json(tmp_path / "prepared/dataset.json")["hash"] != first
    (raw / "dataset.yaml").write_text(
        OURS.replace("resolution: 32", "resolution: 48").replace("repeats: 10", "repeats: 9")
    )
    assert make(raw, tmp_path)["dogs/a.png"]["repeats"] == 9
    assert "prepare: 3 pictures (3 reused)" in capsys.readouterr().out


TWICE = """
datasets:
  - resolution: 32
    subsets: [{folder: dogs, repeats: 4, masks: marks, extension: .words}]
  - resolution: 48
    flip: true
    subsets: [{folder: dogs, masks: marks, extension: .words}, {folder: reg, is_reg: true}]
"""
KOHYA_TWICE = """
[[datasets]]
resolution = 32
  [[datasets.subsets]]
  image_dir = "dogs"
  num_repeats = 4
  conditioning_data_dir = "marks"
  caption_extension = ".words"
[[datasets]]
resolution = 48
flip_aug = true
  [[datasets.subsets]]
  image_dir = "dogs"
  conditioning_data_dir = "marks"
  caption_extension = ".words"
  [[datasets.subsets]]
  image_dir = "reg"
  is_reg = true
  flip_aug = true
"""


@pytest.mark.parametrize("config", [("dataset.yaml", TWICE), ("set.toml", KOHYA_TWICE)], ids=["ours", "kohya"])
def test_a_folder_in_two_datasets_is_trained_in_both_sizes(raw, tmp_path, capsys, config):
    (raw / "dataset.yaml").unlink()
    (raw / config[0]).write_text(config[1])
    (raw / "dogs/a.png.edit.yaml").write_text("crop: [0, 0, 60, 30]\n")
    make(raw, tmp_path)
    told = capsys.readouterr()
    assert "files with the same content" not in told.err and "look the same" not in told.err
    assert "  dogs@2: 1 x 1, resolution 48, flip True\n" in told.out
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "captioned/metadata.jsonl")}
    assert {name: (row["source"], row["bucket"], row.get("repeats", 1)) for name, row in rows.items()} == {
        "dogs/a.png": ("dogs/a.png", "32x32", 4),
        "dogs@2/a.png": ("dogs/a.png", "64x32", 1),
        "reg/c.png": ("reg/c.png", "64x32", 1),
    }
    for name, size in (("dogs/a.png", (32, 32)), ("dogs@2/a.png", (64, 32))):
        row = rows[name]
        with Image.open(tmp_path / "captioned" / name) as made:
            assert made.size == size
        assert row["text"] == "sks, red, on the grass" and row["hand_crop"] == [0, 0, 60, 30]
        assert row["mask"]["source"] == "marks/a.png" and row["mask"]["file_name"] == f".masks/{name}"
    # What one looks through are the files, each once; and the next run changes nothing.
    dataset = CaptionedDataset(raw, tmp_path / "captioned")
    assert dataset.list_changes() == [] and dataset.list_exports().by_hand == 2
    assert set(open_collection(raw, Rules(SETTINGS)).pictures) == {"dogs/a.png", "reg/c.png"}
    assert lint_captions(raw).pictures == 2
    make(raw, tmp_path)
    assert "prepare: 3 pictures (3 reused)" in capsys.readouterr().out


def test_a_folder_of_that_name_keeps_it(raw):
    (raw / "dogs").rename(raw / "deep/cats@2")
    more = "- subsets: [{folder: deep/cats}]\n" * 2
    (raw / "dataset.yaml").write_text(f"datasets:\n- subsets: [{{folder: deep/cats}}, {{folder: deep/cats@2}}]\n{more}")
    found = open_source(raw).scan()
    assert found.files == ["deep/cats/b.png", "deep/cats@2/a.png"]
    assert found.once_more == {"deep/cats@3/b.png": "deep/cats/b.png", "deep/cats@4/b.png": "deep/cats/b.png"}
    # One that is left out is not counted.
    (raw / "dataset.yaml").write_text(
        "datasets:\n- subsets: [{folder: deep/cats, repeats: 0}]\n- subsets: [{folder: deep/cats}]\n"
    )
    assert open_source(raw).scan().pictures == ["deep/cats/b.png"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("folder: dogs", "folder: dog", r"datasets.0.subsets.0.folder: no folder 'dog' in the dataset"),
        ("folder: dogs", "folder: ../raw/dogs", "no folder '../raw/dogs' in the dataset"),
        ("folder: dogs", "folder: deep/cats", r"datasets.0.subsets.1: deep/cats is in an earlier subset of this"),
        ("masks: marks", "masks: mark", r"datasets.0.subsets.0.masks: no folder 'mark'"),
        ("repeats: 10", "repeat: 10", "datasets.0.subsets.0.repeat: unknown setting; did you mean repeats"),
        ("{keep_tags: 1}", "{keep_tokens: 1}", "keep_tokens: no rule of some pictures; known: keep_separator"),
        ("{keep_tags: 1}", "{mode: live}", "mode: no rule of some pictures"),
        ("{keep_tags: 1}", "{tag_dropout: 2}", "tag_dropout"),
        ("{no_upscale: true}", "{upscale: true}", "upscale: no setting of buckets; known: enable, min, max, step"),
        ("flip: true", "augment: {hues: 3}", "augment.hues: unknown setting; did you mean hue"),
        ("flip: true", "augment: {hue: 300}", "augment.hue: Input should be less than or equal to 180"),
        ("flip: true", "face: {detector: x}", "face: detector: no setting of some pictures; known: closest, widest"),
        ("{no_upscale: true}", "{step: x}", "bucket.step: Input should be a valid integer"),
        ("[64, 32]", "[64, 40]", "resolution 40 must be a multiple of bucket.step 16"),
        ("[64, 32]", "[80, 32]", "bucket.min 16 <= resolution 80 <= bucket.max 64 must hold"),
        ("datasets:", "dataset:", "datasets: field required"),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(raw, tmp_path, old, new, message):
    (raw / "dataset.yaml").write_text(OURS.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as refused:
        prepare(raw, tmp_path / "out", SETTINGS)
    assert str(refused.value.where).startswith(str(raw / "dataset.yaml"))
    assert not (tmp_path / "out").exists()


def test_it_goes_to_other_processes(raw):
    source = open_source(raw)
    assert isinstance(source, ConfiguredFolder) and pickle.loads(pickle.dumps(source)).scan() == source.scan()
