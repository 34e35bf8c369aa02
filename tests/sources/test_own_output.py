"""outputs/captioned, copied back as a dataset, is the dataset that it was made of."""

import shutil

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings

SETTINGS = PrepareSettings(dataset="raw", resolution=32, bucket={"min": 16, "max": 64, "step": 16}, workers=1, margin=0)


def make(raw, out):
    """Rows by file_name."""
    prepare(raw, out / "prepared", SETTINGS)
    caption(out / "prepared", raw, out / "captioned", NobodySettings(trigger="sks"), Source(path="./nowhere"))
    return {row["file_name"]: row for row in read_jsonl(out / "captioned/metadata.jsonl")}


@pytest.mark.parametrize("folder", ["", "deep/", "img/3_sks dog/"], ids=["flat", "deep", "kohya's"])
def test_pictures_texts_and_masks_come_back(tmp_path, folder, capsys):
    raw = tmp_path / "raw"
    for seed, name in enumerate(("a", "b")):
        path = raw / f"{folder}{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
        path.with_suffix(".txt").write_text(f"{name}, by hand")
    mask = Image.new("L", (64, 48))
    mask.paste(255, (0, 0, 20, 48))
    mask.save(raw / f"{folder}a-masklabel.png")
    first = make(raw, tmp_path / "first")
    back = shutil.copytree(tmp_path / "first/captioned", tmp_path / "back")
    (back / ".masks").rename(back / "masks")
    capsys.readouterr()
    again = make(back, tmp_path / "again")
    assert "without a picture" not in capsys.readouterr().err
    assert again.keys() == first.keys() and len(first) == 2
    for name, row in first.items():
        assert row["text"] == again[name]["text"] == f"sks, {name.removeprefix(folder)[0]}, by hand"
        assert row.get("repeats") == again[name].get("repeats")
        files = [name, *([row["mask"]["file_name"]] if "mask" in row else [])]
        for file in files:
            before, after = (np.asarray(Image.open(tmp_path / run / "captioned" / file)) for run in ("first", "again"))
            assert np.array_equal(before, after)
    assert sum("mask" in row for row in again.values()) == 1
