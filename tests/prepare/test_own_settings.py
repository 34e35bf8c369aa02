"""Pictures of a subset with rules of its own: their masks, and what is kept of them for crops."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.prepare.own_settings import adapt_settings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.subset_rules import PictureRules, SubsetRules
from lorakiln.sources import Subset

SETTINGS = PrepareSettings(dataset="raw", resolution=32, bucket={"min": 16, "max": 64, "step": 16}, workers=1)
OURS = """
datasets:
- subsets:
  - {folder: clear, alpha_mask: true}
  - {folder: plain, alpha_mask: false, augment: {crop: random}}
  - {folder: rest}
"""
KOHYA = """
[[datasets]]
[[datasets.subsets]]
image_dir = "clear"
alpha_mask = true
[[datasets.subsets]]
image_dir = "plain"
alpha_mask = false
random_crop = true
[[datasets.subsets]]
image_dir = "rest"
"""


@pytest.fixture
def raw(tmp_path):
    """Pictures whose right half is transparent."""
    shades = np.random.default_rng(0).integers(0, 256, (32, 48, 4), dtype=np.uint8)
    shades[..., 3] = 255
    shades[:, 24:, 3] = 0
    for name in ("clear", "plain", "rest"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        Image.fromarray(shades).save(tmp_path / "raw" / name / "a.png")
    return tmp_path / "raw"


def make(raw, out, settings):
    prepare(raw, out, settings)
    return {row["file_name"].split("/")[0]: row for row in read_jsonl(out / "metadata.jsonl")}


@pytest.mark.parametrize("config", [("dataset.yaml", OURS), ("set.toml", KOHYA)], ids=["ours", "kohya"])
@pytest.mark.parametrize(("masks", "usual"), [("auto", True), ("files", False), ("alpha", True), ("none", False)])
def test_a_subset_says_whether_its_alpha_channel_is_a_mask(raw, tmp_path, config, masks, usual):
    (raw / config[0]).write_text(config[1])
    rows = make(raw, tmp_path / "out", SETTINGS.model_copy(update={"masks": masks}))
    assert {name: "mask" in row for name, row in rows.items()} == {"clear": True, "plain": False, "rest": usual}
    assert rows["clear"]["mask"]["source"] == "alpha" and rows["clear"]["mask"]["share"] == 0.5


def test_files_stay_masks_where_a_subset_s_alpha_channel_is_none(raw, tmp_path):
    (raw / "dataset.yaml").write_text(OURS)
    Image.new("L", (48, 32), 255).save(raw / "plain/a-masklabel.png")
    assert make(raw, tmp_path / "out", SETTINGS)["plain"]["mask"]["source"] == "plain/a-masklabel.png"


def test_what_a_subset_s_crops_need_is_kept_of_its_pictures(raw, tmp_path, capsys):
    (raw / "set.toml").write_text(KOHYA)
    rows = make(raw, tmp_path / "out", SETTINGS)
    assert {name for name, row in rows.items() if "uncropped" in row} == {"plain"}
    # As much as the crop cuts off, for the experiment has no margin.
    kept = rows["plain"]["uncropped"]
    assert [kept["width"], kept["height"]] == rows["plain"]["resized"] and rows["plain"]["bucket"] == "32x32"
    assert "uncropped pictures take" in capsys.readouterr().out
    more = make(raw, tmp_path / "out", SETTINGS.model_copy(update={"margin": 0.25}))
    assert all("uncropped" in row for row in more.values())
    # Only what a changed rule is about is made anew.
    (raw / "set.toml").write_text(KOHYA.replace("random_crop = true", ""))
    make(raw, tmp_path / "two", SETTINGS)
    (raw / "set.toml").write_text(KOHYA)
    capsys.readouterr()
    make(raw, tmp_path / "two", SETTINGS)
    assert "prepare: 3 pictures (2 reused)" in capsys.readouterr().out


def test_crops_around_faces_are_as_close_as_a_subset_says():
    face = {"detector": "faces.onnx", "closest": 2.0, "widest": 4.0}
    settings = SETTINGS.model_copy(update={"margin": 0.1, "face": type(SETTINGS.face)(**face)})
    rules = SubsetRules(augment={"crop": "face"})
    near = Subset(rules=rules, pictures=PictureRules(face={"closest": 1.5, "widest": 2.0}), where="set.toml: 1")
    assert adapt_settings(settings, near).face.model_dump() == settings.face.model_dump() | {
        "closest": 1.5,
        "widest": 2.0,
    }
    assert adapt_settings(settings, near).margin == 0.1
    with pytest.raises(UserError, match="nothing finds any") as refused:
        adapt_settings(SETTINGS, near)
    assert refused.value.where == "set.toml: 1" and "prepare.face.detector" in refused.value.fix
    far = Subset(pictures=PictureRules(face={"closest": 5.0, "widest": 6.0}), where="set.toml: 1")
    assert adapt_settings(settings, far).face.widest == 6.0
    # A range that is none with the experiment's other end.
    nearest = settings.model_copy(update={"face": type(SETTINGS.face)(detector="faces.onnx", closest=1.0, widest=1.2)})
    with pytest.raises(UserError, match="closest 1.5 must not be above widest 1.2"):
        adapt_settings(nearest, Subset(pictures=PictureRules(face={"closest": 1.5}), where="set.toml: 1"))
