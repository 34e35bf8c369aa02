"""sd-scripts' dataset config in a dataset's folder: what is taken, what is told, and what is refused."""

import pickle

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.subset_rules import PictureRules, SubsetRules
from lorakiln.sources import Subset, open_source
from lorakiln.sources.kohya_config import KohyaConfig

CONFIG = """
[general]
shuffle_caption = true
num_repeats = 2
class_tokens = "sks  cat"

[[datasets]]
resolution = [48, 32]
batch_size = 4
bucket_no_upscale = true
flip_aug = true

  [[datasets.subsets]]
  image_dir = "/home/me/train/dogs"
  num_repeats = 10
  class_tokens = "sks dog"
  conditioning_data_dir = "marks"
  caption_extension = ".words"
  caption_prefix = "photo of"
  keep_tokens = 1
  caption_dropout_rate = 0.25

  [[datasets.subsets]]
  image_dir = 'C:\\train\\deep\\cats'

[[datasets]]
resolution = 32
num_repeats = 3
enable_bucket = false

  [[datasets.subsets]]
  image_dir = "reg"
  is_reg = true

  [[datasets.subsets]]
  image_dir = "unused"
  num_repeats = 0

  [[datasets.subsets]]
  image_dir = "reg"
  num_repeats = 99
"""
PICTURES = (
    *("dogs/a.png", "dogs/b.png", "dogs/deeper/x.png", "deep/cats/c.png", "reg/r.png", "unused/u.png", "rest/z.png"),
    *("marks/a.png", "marks/q.png"),
)


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / "raw"
    for number, name in enumerate(PICTURES):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        shades = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(shades).save(raw / name)
    (raw / "set.toml").write_text(CONFIG)
    (raw / "dogs/a.words").write_text("on the grass")
    return raw


def test_subsets_are_what_the_config_says(raw):
    found = open_source(raw).scan()
    first = PictureRules(resolution=[48, 32], bucket={"no_upscale": True})
    second = PictureRules(resolution=32, bucket={"enable": False})
    captions = {"shuffle": True, "keep_tags": 1}
    dogs = SubsetRules(prefix="photo of", flip=True, caption_dropout=0.25, captions=captions, batch_size=4)
    cats = SubsetRules(batch_size=4, flip=True, captions={"shuffle": True})
    assert found.subsets == {
        "dogs/a.png": Subset(10, False, "sks dog", dogs, first),
        "dogs/b.png": Subset(10, False, "sks dog", dogs, first),
        "deep/cats/c.png": Subset(2, False, "sks cat", cats, first),
        "reg/r.png": Subset(3, True, "sks cat", SubsetRules(captions={"shuffle": True}), second),
    }
    assert found.pictures == sorted(found.subsets)
    assert found.aside == {"dogs/deeper": 1, "unused": 1, "rest": 1}
    assert found.masks == {"dogs/a.png": ("marks/a.png",)} and found.lonely_masks == ["marks/q.png"]


def test_it_is_prepared_and_captioned(raw, tmp_path, capsys):
    bucket = {"min": 16, "max": 64, "step": 16}
    prepare(raw, tmp_path / "out", PrepareSettings(dataset="raw", resolution=16, bucket=bucket, workers=1))
    told = capsys.readouterr().out
    assert "prepare: read as set.toml says" in told
    sizes = "resolution [48, 32], no_upscale True"
    dogs = f"{sizes}, prefix 'photo of', flip True, shuffle True, keep_tags 1, caption_dropout 0.25, batch_size 4"
    cats = f"{sizes}, flip True, shuffle True, batch_size 4"
    assert f"  dogs: 2 x 10, {dogs}\n" in told and f"  deep/cats: 1 x 2, {cats}\n" in told
    reg = "for regularisation, resolution 32, enable False, shuffle True"
    assert f"  reg: 1 x 3, {reg}\n" in told and "  not taken: rest (1 picture)\n" in told
    # What it says beside, with all values that it has, and what sets it here; and what is left out.
    assert "batch_size =" not in told and "shuffle_caption =" not in told
    assert "[[datasets]] 2, subset 3: reg is in an earlier subset of this dataset, which counts" in told
    rows = {row["source"]: row for row in read_jsonl(tmp_path / "out/metadata.jsonl")}
    # 32x32 pictures: as they are, for 48x32 has more pixels; and cropped to the square.
    assert {row["bucket"] for row in rows.values()} == {"32x32"} and rows["reg/r.png"]["rules"] == {
        "captions": {"shuffle": True}
    }
    settings = NobodySettings(trigger="")
    caption(tmp_path / "out", raw, tmp_path / "captioned", settings, Source(path="./nowhere"))
    texts = {row["source"]: row["text"] for row in read_jsonl(tmp_path / "captioned/metadata.jsonl")}
    assert texts == {
        "dogs/a.png": "photo of on the grass",
        "dogs/b.png": "photo of sks dog",
        "deep/cats/c.png": "sks cat",
        "reg/r.png": "sks cat",
    }


def test_captions_are_dropped_and_their_tags_become_more_as_a_subset_says(raw):
    more = "token_warmup_min = 2\n  token_warmup_step = {}\n  caption_dropout_every_n_epochs = 3"
    (raw / "set.toml").write_text(CONFIG.replace("keep_tokens = 1", more.format("100.0"), 1))
    found = open_source(raw).scan()
    rules = found.subsets["dogs/a.png"].rules
    assert rules.captions == {"shuffle": True, "tag_warmup_least": 2, "tag_warmup_steps": 100}
    assert rules.caption_dropout_every_epochs == 3 and "warmup" not in "\n".join(found.remarks)
    # How many steps a share of them is nobody knows before the training.
    (raw / "set.toml").write_text(CONFIG.replace("keep_tokens = 1", more.format("0.2"), 1))
    found = open_source(raw).scan()
    assert found.subsets["dogs/a.png"].rules.captions == {"shuffle": True, "tag_warmup_least": 2}
    assert "  token_warmup_step = 0.2: encode.captions.tag_warmup_steps" in found.remarks


def test_crops_and_colours_are_drawn_as_a_subset_says(raw):
    def read(more):
        (raw / "set.toml").write_text(CONFIG.replace("keep_tokens = 1", more, 1))
        found = open_source(raw).scan()
        assert not any(key in line for line in found.remarks for key in ("color_aug", "random_crop", "face_crop"))
        subset = found.subsets["dogs/a.png"]
        return subset.rules.augment, subset.pictures.face

    no_colours = dict.fromkeys(("brightness", "contrast", "saturation", "hue", "gamma"), 0.0)
    assert read("color_aug = true") == (no_colours | {"hue": 16.0, "gamma": 0.05}, {})
    # What it says is off is off, whatever the experiment draws.
    assert read("color_aug = false\n  random_crop = false") == (no_colours | {"crop": "centre"}, {})
    assert read("random_crop = true") == ({"crop": "random"}, {})
    faces = {"closest": 2.0, "widest": 4.0}
    assert read("random_crop = true\n  face_crop_aug_range = [2.0, 4.0]") == ({"crop": "face"}, faces)
    with pytest.raises(UserError, match="are not two numbers"):
        read("face_crop_aug_range = [2.0]")
    with pytest.raises(UserError, match="closest 4 must not be above widest 2"):
        read("face_crop_aug_range = [4.0, 2.0]")


def test_a_config_goes_before_what_folders_names_say(tmp_path):
    (tmp_path / "7_dog").mkdir()
    (tmp_path / "7_dog/a.png").write_bytes(b"")
    (tmp_path / "set.toml").write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "7_dog"\n')
    assert open_source(tmp_path).scan().subsets == {"7_dog/a.png": Subset(1)}
    # Another program's settings are no config of a dataset.
    (tmp_path / "set.toml").write_text('[tool]\nname = "x"\n')
    assert open_source(tmp_path).scan().subsets == {"7_dog/a.png": Subset(7, False, "dog")}
    with pytest.raises(UserError, match=r"no dataset config, a .toml with \[\[datasets\]\]"):
        open_source(tmp_path, kind="kohya_config")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # Refused by sd-scripts too: a slip, a key in the wrong place, a value of another kind.
        (
            "num_repeats = 10",
            "num_repeat = 10",
            r"subset 1: num_repeat: .* is no key .*\n.*did you mean num_repeats",
        ),
        ("[general]", "[general]\nis_reg = true", r"\[general\]: is_reg: is_reg is no key"),
        ("is_reg = true", "batch_size = 2", r"\[\[datasets\]\] 2, subset 1: batch_size: batch_size is no key"),
        ("num_repeats = 10", 'num_repeats = "10"', r"subset 1: num_repeats: '10' is not of the kind int"),
        ("num_repeats = 10", "num_repeats = true", r"True is not of the kind int"),
        ('image_dir = "reg"', "", r"\[\[datasets\]\] 2, subset 1: image_dir is missing"),
        ('image_dir = "reg"', 'image_dir = "../raw"', r"subset 1: image_dir: no folder '../raw'"),
        ('image_dir = "reg"', 'image_dir = "gone"', r"no folder 'gone' in the dataset\n.*copy it into"),
        ("is_reg = true", 'metadata_file = "a.json"', r"metadata_file is not read\n.*as metadata.json"),
        ("[general]", "[general", "is no TOML"),
        ("caption_dropout_rate = 0.25", "caption_dropout_rate = 2", "caption_dropout: Input should be less than or"),
        ("resolution = 32", "resolution = [32]", r"resolution: one number, or \[width, height\]"),
        ("keep_tokens = 1", "keep_tokens = -1", "keep_tags: Input should be greater than or equal to 0"),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(raw, old, new, message):
    (raw / "set.toml").write_text(CONFIG.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as refused:
        open_source(raw).scan()
    assert str(refused.value.where).startswith(str(raw / "set.toml"))


def test_two_configs_are_refused(raw):
    (raw / "other.toml").write_text(CONFIG)
    with pytest.raises(UserError, match="several dataset configs: other.toml, set.toml"):
        open_source(raw)


def test_it_goes_to_other_processes(raw):

    source = open_source(raw)
    assert isinstance(source, KohyaConfig)
    assert pickle.loads(pickle.dumps(source)).scan() == source.scan()


def test_one_batch_size_for_all_datasets_is_the_trainings(raw, tmp_path, capsys):
    """Where what is accumulated, and other devices, are part of it."""
    config = raw / "set.toml"
    config.write_text(CONFIG.replace("batch_size = 4\n", "").replace("[general]\n", "[general]\nbatch_size = 4\n"))
    found = open_source(raw).scan()
    assert {subset.rules.batch_size for subset in found.subsets.values()} == {None}
    assert any("batch_size = 4: train.batch_size" in one for one in found.remarks)
