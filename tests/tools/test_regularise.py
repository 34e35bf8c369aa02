"""`lorakiln regularise`: what it draws, that it goes on where it was stopped, and that sources know the folder."""

import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.caption import caption
from lorakiln.cli import main
from lorakiln.families import load_family
from lorakiln.prepare import prepare
from lorakiln.sampling import DrawJob, draw
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.sources import open_source

SETTINGS = PrepareSettings(dataset="raw", resolution=32, bucket={"min": 16, "max": 64, "step": 16}, workers=1)


@pytest.fixture
def regularise(tmp_path, micro_model):
    file = tmp_path / "micro.yaml"
    file.write_text(yaml.safe_dump(micro_model.model_dump(mode="json")))

    def run(*arguments, out=tmp_path / "raw/reg/1_a cat"):
        given = ("a  cat", "--model", file, "--out", out, "--steps", 2, *arguments)
        return main(["regularise", *map(str, given)])

    return run


def read_pictures(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_pictures_are_those_of_the_base_and_what_is_missing_is_drawn(regularise, tmp_path, micro_model, capsys):
    out = tmp_path / "raw/reg/1_a cat"
    assert regularise("--count", 3, "--seed", 7) == 0
    assert "3 pictures of 'a  cat' drawn\n" in capsys.readouterr().out
    first = read_pictures(out)
    assert list(first) == ["0000.png", "0001.png", "0002.png"]
    family = load_family(micro_model)
    jobs = [DrawJob("a  cat", seed, 32, 32) for seed in (7, 8, 9)]
    for path, image in zip(first, draw(family, jobs, 2, 5.0, batch_size=3), strict=True):
        assert (np.asarray(Image.open(out / path)) == np.asarray(image)).all()
    told = read_json(out / "regularisation.json")
    assert (told["prompt"], told["seed"], told["steps"], told["width"]) == ("a  cat", 7, 2, 32)
    assert told["base_hash"] == family.facts["hash"]
    assert [row["text"] for row in read_jsonl(out / "metadata.jsonl")] == ["a  cat"] * 3
    # It was stopped, and is asked for more.
    (out / "0001.png").unlink()
    assert regularise("--count", 4, "--seed", 7) == 0
    assert "2 pictures of 'a  cat' drawn, 2 were there\n" in capsys.readouterr().out
    now = read_pictures(out)
    assert len(now) == 4 and all(now[name] == first[name] for name in ("0000.png", "0002.png"))
    apart = np.asarray(Image.open(out / "0001.png")).astype(int) - np.asarray(Image.open(io.BytesIO(first["0001.png"])))
    assert np.abs(apart).max() <= 1  # the last bits depend on how many are drawn at once
    assert regularise("--count", 2, "--seed", 7) == 0 and read_pictures(out) == now


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", 1), "was drawn otherwise: with seed 0"),
        (("--guidance", 3, "--size", "48x32"), "was drawn otherwise: with guidance 5.0, width 32"),
        (("--seed", 2**32 - 1, "--count", 2), "seeds end at 4294967295"),
    ],
)
def test_what_was_drawn_otherwise_stays(regularise, tmp_path, arguments, message, capsys):
    assert regularise("--count", 1) == 0
    before = read_pictures(tmp_path / "raw/reg/1_a cat")
    capsys.readouterr()
    assert regularise(*(("--count", 1) if "--count" not in arguments else ()), *arguments) == 1
    assert message in capsys.readouterr().err and read_pictures(tmp_path / "raw/reg/1_a cat") == before
    (tmp_path / "raw/mine").mkdir()
    (tmp_path / "raw/mine/a.png").write_bytes(b"")
    assert regularise("--count", 1, out=tmp_path / "raw/mine") == 1
    assert "is there already, and not what this command has drawn" in capsys.readouterr().err


@pytest.mark.parametrize(("subject", "reg"), [("img/2_sks cat", "reg/1_a cat"), ("mine", "drawn of the base")])
def test_sources_know_the_folder(regularise, tmp_path, subject, reg, capsys):
    raw = tmp_path / "raw"
    assert regularise("--count", 1, out=raw / reg) == 0
    (raw / subject).mkdir(parents=True)
    shades = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(shades).save(raw / subject / "a.png")
    prepare(raw, tmp_path / "out", SETTINGS)
    assert f"  {reg}: 1 x 1, for regularisation\n" in capsys.readouterr().out
    caption(tmp_path / "out", raw, tmp_path / "captioned", NobodySettings(trigger="sks"), Source(path="./nowhere"))
    rows = {row["source"]: row for row in read_jsonl(tmp_path / "captioned/metadata.jsonl")}
    drawn = rows[f"{reg}/0000.png"]
    assert (drawn["is_reg"], drawn["text"]) == (True, "a cat") and "is_reg" not in rows[f"{subject}/a.png"]


def test_a_size_that_the_base_cannot_draw_leaves_nothing(regularise, tmp_path, capsys):
    assert regularise("--count", 1, "--size", "31x32") == 1
    assert "31" in capsys.readouterr().err and not (tmp_path / "raw").exists()
    assert regularise("--count", 1) == 0


def test_a_record_that_is_none_is_told(tmp_path):
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn/regularisation.json").write_text(json.dumps({"prompt": "a cat"}))
    Image.new("RGB", (32, 32)).save(tmp_path / "drawn/0000.png")
    found = open_source(tmp_path).scan()
    assert [one.source for one in found.bad] == ["drawn/regularisation.json"] and not found.subsets
