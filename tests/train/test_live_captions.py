"""From pictures to a LoRA with every rule of captions on: drawn by the rules, embedded as they are drawn."""

import shutil

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_json, read_jsonl, write_jsonl
from lorakiln.caption import caption
from lorakiln.captions import draw_text
from lorakiln.captions.chance import RandomChance
from lorakiln.diffusion.random_draws import CAPTIONS, make_generator
from lorakiln.encode import encode
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.train import train
from lorakiln.train.live_text import LiveText

RULES = {
    "wildcards": True,
    "shuffle": True,
    "keep_separator": "|||",
    "secondary_separator": ";;;",
    "tag_dropout": 0.3,
    "tag_warmup_steps": 6,
}
FILES = {
    "a": "red ||| {old|new} cat, hat;;;coat, sun\na cat ||| sea, sand",
    "b": "blue ||| {dog|cat}, rain, {big|small} house",
    "c": "a, b, c, d, e, f",
}
CAPTIONS_OF_D = "sks, photo of, an animal best"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, micro_model):
    """Four pictures with everything in their captions; the last has none."""
    folder = tmp_path_factory.mktemp("live")
    raw = folder / "raw"
    raw.mkdir()
    for seed, name in enumerate("abcd"):
        shades = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(shades).resize((32, 32)).save(raw / f"{name}.png")
    for name, text in FILES.items():
        (raw / f"{name}.txt").write_text(text)
    bucket = {"min": 16, "max": 64, "step": 16}
    prepare(raw, folder / "prepared", PrepareSettings(dataset="raw", resolution=32, bucket=bucket, workers=1))
    words = {"trigger": "sks", "prefix": "photo of,", "suffix": "best", "class_tokens": "an animal", "lines": True}
    caption(folder / "prepared", raw, folder / "captioned", NobodySettings(**words), Source(path="nowhere"))
    encode(folder / "captioned", folder / "encoded", EncodeSettings(captions=RULES), micro_model)
    return folder


def test_the_index_has_plain_texts_and_what_draws_others(dataset):
    index = read_json(dataset / "encoded/index.json")
    assert index["captions"] == {"mode": "live"}
    rows = {row["file_name"]: row for bucket in index["buckets"] for row in bucket["rows"]}
    assert rows["a.png"]["text"] == "sks, photo of, red, old cat, hat,coat, sun best"
    assert rows["a.png"]["templates"] == [
        "sks, photo of, red ||| {old|new} cat, hat;;;coat, sun best",
        "sks, photo of, a cat ||| sea, sand best",
    ]
    assert rows["d.png"]["templates"] == [rows["d.png"]["text"]] == [CAPTIONS_OF_D]
    assert {row["caption_source"] for row in read_jsonl(dataset / "captioned/metadata.jsonl")} == {
        "file",
        "class_tokens",
    }


@pytest.fixture
def train_it(dataset, make_settings, micro_model, tmp_path, read_files):
    """Trains on the dataset; the run's files, and every text that was read, in order."""

    def run(name, monkeypatch, **changes):
        read, encoded = [], LiveText.encode

        def told(live, texts):
            read.append(list(texts))
            return encoded(live, texts)

        objective = {"caption_dropout": 0.2, "caption_dropout_every_epochs": 3}
        settings = make_settings(objective=objective, validation={"every": 4, "draws": 2, "fraction": 0.25}, **changes)
        with monkeypatch.context() as patch:
            patch.setattr(LiveText, "encode", told)
            train(
                dataset / "encoded", tmp_path / name, settings, micro_model, tmp_path / f"cache-{name}" / "checkpoints"
            )
        return read_files(tmp_path / name), read

    return run


def test_a_training_with_all_rules_on(train_it, dataset, monkeypatch, capsys, tmp_path):
    _, read = train_it("whole", monkeypatch)
    told = capsys.readouterr().out
    assert "of each picture are drawn from, embedded as they are drawn: 4 a step by the text encoders" in told
    assert len(read) == 12 and all(len(texts) == 4 for texts in read)
    # Three pictures are trained on, four a step: the third epoch is of the samples 6 to 8, in the steps 1 and 2.
    flat = [text for texts in read for text in texts]
    assert flat[6:9] == flat[15:18] == ["", "", ""] and any(flat[:6])
    index = read_json(dataset / "encoded/index.json")
    templates = [row["templates"] for bucket in index["buckets"] for row in bucket["rows"]]
    rules = EncodeSettings(captions=RULES).captions
    for step, texts in enumerate(read):
        for place, text in enumerate(texts):
            drawn = {
                draw_text(of, rules, RandomChance(make_generator(3, CAPTIONS, step, place)), step) for of in templates
            }
            assert text in drawn | {""}
    # Warm-up: at first one tag is there that is not kept.
    assert all(text.count(",") <= 4 for text in read[0])


def test_micro_batches_read_the_same(train_it, monkeypatch):
    _, whole = train_it("whole", monkeypatch)
    _, parts = train_it("parts", monkeypatch, micro_batch=1)
    assert len(parts) == 4 * len(whole)
    assert [text for texts in parts for text in texts] == [text for texts in whole for text in texts]


def test_validation_is_of_plain_captions(train_it, monkeypatch, tmp_path, micro_model, dataset, make_settings):
    """The base's loss is that of a dataset that has the plain captions, and nothing that is drawn."""
    train_it("drawn", monkeypatch)
    plain = shutil.copytree(dataset / "captioned", tmp_path / "captioned")
    index = read_json(dataset / "encoded/index.json")
    texts = {row["file_name"]: row["text"] for bucket in index["buckets"] for row in bucket["rows"]}
    rows = [{**row, "text": texts[row["file_name"]]} for row in read_jsonl(plain / "metadata.jsonl")]
    write_jsonl(plain / "metadata.jsonl", ({name: row[name] for name in row if name != "alternatives"} for row in rows))
    encode(plain, tmp_path / "encoded", EncodeSettings(), micro_model)
    settings = make_settings(steps=1, validation={"every": 4, "draws": 2, "fraction": 0.25})
    train(tmp_path / "encoded", tmp_path / "plain", settings, micro_model, tmp_path / "cache" / "checkpoints")
    first = [(tmp_path / name / "validation.csv").read_text().splitlines()[:2] for name in ("drawn", "plain")]
    assert first[0] == first[1] and len(first[0]) == 2
