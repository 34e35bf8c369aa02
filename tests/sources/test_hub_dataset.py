"""A dataset of the Hub in its cache, named by hub.yaml: what is read, what wins over it, and what is refused."""

import os
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
from lorakiln.sources import open_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = PrepareSettings(dataset="raw", resolution=32, bucket={"min": 16, "max": 64, "step": 16}, workers=1)


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A dataset's folder with hub.yaml, and the hub's cache with what it names: an imagefolder, its files as links."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "datasets--somebody--cats"
    snapshot = kept / "snapshots" / COMMIT
    (kept / "blobs").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    files = {f"train/{name}.png": number for number, name in enumerate("abcd")}
    for number in files.values():
        shades = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(shades).save(kept / "blobs" / f"{number}", "PNG")
    lines = [f'{{"file_name": "{name}.png", "text": "cat {name}"}}\n' for name in "abcd"]
    (kept / "blobs" / "table").write_text("".join(lines))
    for name, blob in {**files, "train/metadata.jsonl": "table"}.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(os.path.relpath(kept / "blobs" / str(blob), (snapshot / name).parent), snapshot / name)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "hub.yaml").write_text(f"dataset: somebody/cats\nrevision: {COMMIT}\n")
    return raw


def make(raw, out):
    """Texts by the pictures' names."""
    prepare(raw, out / "prepared", SETTINGS)
    settings = NobodySettings(trigger="sks")
    caption(out / "prepared", raw, out / "captioned", settings, Source(path="./nowhere"))
    return {row["source"]: row["text"] for row in read_jsonl(out / "captioned/metadata.jsonl")}


def test_it_is_read_where_the_hub_keeps_it(raw, tmp_path):
    assert make(raw, tmp_path) == {f"train/{name}.png": f"sks, cat {name}" for name in "abcd"}
    # Not a byte of it is copied into the dataset's folder.
    assert [path.name for path in raw.rglob("*")] == ["hub.yaml"]


def test_what_is_beside_hub_yaml_wins(raw, tmp_path, capsys):
    (raw / "train").mkdir()
    (raw / "train/a.txt").write_text("by hand")
    (raw / "train/b.png.edit.yaml").write_text("caption: edited\ncrop: [0, 0, 16, 16]\n")
    (raw / "train/c.png.edit.yaml").write_text("excluded: true\n")
    texts = make(raw, tmp_path)
    assert texts == {"train/a.png": "sks, by hand", "train/b.png": "sks, edited", "train/d.png": "sks, cat d"}
    told = capsys.readouterr()
    assert "hand edits: 1 caption, 1 crop, 1 picture left out" in told.out and "of no picture" not in told.err
    assert "without a picture" not in told.err


def test_a_folder_of_it_may_be_meant_alone(raw, tmp_path):
    (raw / "hub.yaml").write_text(f"dataset: somebody/cats\nrevision: {COMMIT}\nfolder: train\n")
    assert set(make(raw, tmp_path)) == {f"{name}.png" for name in "abcd"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dataset: somebody/cats\nrevision: main\n", "revision"),
        ("dataset: somebody/cats\n", "revision: field required"),
        (f"dataset: ../cats\nrevision: {COMMIT}\nbranch: x\n", "branch: unknown setting"),
        (f"dataset: cats\nrevision: {COMMIT}\n", "dataset"),
        (f"dataset: somebody/cats\nrevision: {COMMIT}\nfolder: test\n", "no folder 'test' in the dataset"),
        (f"dataset: somebody/cats\nrevision: {COMMIT}\nfolder: ../..\n", "no folder '../..' in the dataset"),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(raw, text, problem):
    (raw / "hub.yaml").write_text(text)
    with pytest.raises(UserError, match=problem) as refused:
        open_source(raw)
    assert refused.value.where == raw / "hub.yaml"


def test_what_was_not_fetched_is_told_with_the_command_that_fetches_it(raw):
    other = COMMIT[::-1]
    (raw / "hub.yaml").write_text(f"dataset: somebody/cats\nrevision: {other}\n")
    with pytest.raises(UserError, match="somebody/cats at 765432") as refused:
        open_source(raw)
    assert f"hf download --repo-type dataset somebody/cats --revision {other}" in refused.value.fix


def test_it_goes_to_other_processes(raw):
    source = open_source(raw)
    assert pickle.loads(pickle.dumps(source)).scan() == source.scan()
