"""dataset.yaml: sizes, repeats and rules of a dataset's folders, as a kohya config says them, and what is refused."""

import pickle

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.caption import caption
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.sources import open_source
from lorakiln.sources.dataset_config import ConfiguredFolder
from lorakiln.tools.caption_changes import CaptionedDataset

OURS = """
captions: {shuffle: true}
class_tokens: sks  cat
datasets:
  - resolution: [64, 32]
    bucket: {no_upscale: true}
    flip: true
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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("folder: dogs", "folder: dog", r"datasets.0.subsets.0.folder: no folder 'dog' in the dataset"),
        ("folder: dogs", "folder: ../raw/dogs", "no folder '../raw/dogs' in the dataset"),
        ("folder: dogs", "folder: deep/cats", r"datasets.0.subsets.1: deep/cats is in an earlier subset"),
        ("masks: marks", "masks: mark", r"datasets.0.subsets.0.masks: no folder 'mark'"),
        ("repeats: 10", "repeat: 10", "datasets.0.subsets.0.repeat: unknown setting; did you mean repeats"),
        ("{keep_tags: 1}", "{keep_tokens: 1}", "keep_tokens: no rule of some pictures; known: keep_separator"),
        ("{keep_tags: 1}", "{mode: live}", "mode: no rule of some pictures"),
        ("{keep_tags: 1}", "{tag_dropout: 2}", "tag_dropout"),
        ("{no_upscale: true}", "{upscale: true}", "upscale: no setting of buckets; known: enable, min, max, step"),
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
