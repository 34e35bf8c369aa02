"""What the captioner writes, and when it is asked."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BlipForConditionalGeneration, BlipImageProcessorPil
from transformers.utils import logging as transformers_logging

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.captioners.blip.model import Blip
from lorakiln.console.errors import UserError
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.model import Source


@pytest.fixture
def asked(monkeypatch):
    """Names of the pictures that the captioner was asked about."""
    names, write = [], Blip.write

    def counted(self, files, settings, done):
        names.extend(file.name for file in files)
        return write(self, files, settings, done)

    monkeypatch.setattr(Blip, "write", counted)
    return names


def texts(folder: Path) -> dict[str, str]:
    return {row["file_name"]: row["text"] for row in read_jsonl(folder / "metadata.jsonl")}


def by_hand(source: Source, file: Path, prompt: str = "", **options) -> str:
    """One picture's caption as transformers' documentation makes it."""
    model = BlipForConditionalGeneration.from_pretrained(source.path).eval()
    tokenizer = AutoTokenizer.from_pretrained(source.path)
    pixels = BlipImageProcessorPil.from_pretrained(source.path)(Image.open(file), return_tensors="pt")["pixel_values"]
    more = {}
    if prompt:
        tokens = tokenizer(prompt, return_tensors="pt")
        more = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
    with torch.inference_mode():
        written = model.generate(pixel_values=pixels, **more, **options)
    return " ".join(tokenizer.decode(written[0], skip_special_tokens=True).split())


@pytest.mark.parametrize(
    ("changes", "options"),
    [({}, {}), ({"num_beams": 3}, {"num_beams": 3}), ({"prompt": "a red cat"}, {"prompt": "a red cat"})],
)
def test_texts_are_the_model_s_own(tmp_path, prepared, raw, captioner, changes, options, capsys):
    caption(prepared, raw, tmp_path / "out", BlipSettings(max_new_tokens=6, **changes), captioner)
    assert "pictures for the captioner, on the CPU\n" in capsys.readouterr().out
    found = texts(tmp_path / "out")
    for name in ("a.png", "c.png", "e.png"):
        assert found[name] == by_hand(captioner, prepared / name, max_new_tokens=6, **options)
        assert found[name].startswith(options.get("prompt", ""))
    # Else these tests would show nothing.
    assert len({found["a.png"], found["c.png"], found["e.png"]}) > 1


def test_the_batch_does_not_change_the_texts(tmp_path, prepared, raw, captioner):
    for size in (1, 2, 4):
        caption(prepared, raw, tmp_path / str(size), BlipSettings(batch_size=size), captioner)
    assert texts(tmp_path / "1") == texts(tmp_path / "2") == texts(tmp_path / "4")


def test_incremental_equals_fresh_and_asks_about_what_is_new_alone(tmp_path, prepared, raw, captioner, contents, asked):
    settings = BlipSettings(trigger="sks")
    caption(prepared, raw, tmp_path / "out", settings, captioner)
    assert asked == ["a.png", "c.png", "e.png"]
    asked.clear()
    caption(prepared, raw, tmp_path / "out", settings, captioner)
    assert asked == []
    (raw / "b.txt").unlink()
    (raw / "c.txt").write_text("a hand edit")
    caption(prepared, raw, tmp_path / "out", settings, captioner)
    assert asked == ["b.png"]
    # Other trigger words are put in front of the same texts.
    asked.clear()
    settings = BlipSettings(trigger="zwx")
    caption(prepared, raw, tmp_path / "out", settings, captioner)
    assert asked == []
    assert texts(tmp_path / "out")["c.png"] == "zwx, a hand edit"
    caption(prepared, raw, tmp_path / "fresh", settings, captioner)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_another_captioner_or_another_prompt_writes_anew(tmp_path, prepared, raw, captioner, asked):
    caption(prepared, raw, tmp_path / "out", BlipSettings(), captioner)
    shutil.copytree(captioner.path, tmp_path / "moved")
    asked.clear()
    caption(prepared, raw, tmp_path / "out", BlipSettings(), Source(path=str(tmp_path / "moved")))
    assert asked == []
    weights = load_file(tmp_path / "moved" / "model.safetensors")
    save_file(
        {name: weight + 0.1 for name, weight in weights.items()},
        tmp_path / "moved" / "model.safetensors",
        {"format": "pt"},
    )
    caption(prepared, raw, tmp_path / "out", BlipSettings(), Source(path=str(tmp_path / "moved")))
    assert asked == ["a.png", "c.png", "e.png"]
    asked.clear()
    caption(prepared, raw, tmp_path / "out", BlipSettings(prompt="a dog"), Source(path=str(tmp_path / "moved")))
    assert asked == ["a.png", "c.png", "e.png"]


def test_captions_keep_within_the_model_s_positions(tmp_path, prepared, raw, captioner):
    caption(prepared, raw, tmp_path / "out", BlipSettings(max_new_tokens=500), captioner)
    with pytest.raises(UserError, match="caption.prompt has 14 tokens, the captioner reads 10 at most"):
        caption(prepared, raw, tmp_path / "out", BlipSettings(prompt="a " * 14), captioner)


def test_no_captioner_is_needed_where_all_have_files(tmp_path, prepared, raw):
    for name in ("a", "c", "e"):
        (raw / f"{name}.txt").write_text("by hand")
    caption(prepared, raw, tmp_path / "out", BlipSettings(), Source(path="./nowhere/blip"))
    assert texts(tmp_path / "out")["a.png"] == "by hand"


@pytest.mark.parametrize(
    ("path", "message"),
    [("./nowhere/blip", "no such folder"), ("owner/no-such-captioner", "hub cannot be reached")],
)
def test_an_absent_captioner(tmp_path, prepared, raw, path, message):
    with pytest.raises(UserError, match=message) as caught:
        caption(prepared, raw, tmp_path / "out", BlipSettings(), Source(path=path))
    assert caught.value.fix and not (tmp_path / "out").exists()


def test_a_captioner_that_is_none(tmp_path, prepared, raw, captioner, micro_model):
    transformers_logging.set_verbosity_warning()
    told: list[logging.LogRecord] = []
    listener = logging.Handler()
    listener.emit = told.append

    def refused(path: Path, message: str) -> None:
        logging.getLogger("transformers").addHandler(listener)
        try:
            with pytest.raises(UserError, match=message) as found:
                caption(prepared, raw, tmp_path / "out", BlipSettings(), Source(path=str(path)))
        finally:
            logging.getLogger("transformers").removeHandler(listener)
        # Where the captioner is named is said, and no table of weights stands before it.
        assert "caption.source" in found.value.fix or "safetensors" in found.value.fix
        assert not any("MISSING" in record.getMessage() for record in told)

    refused(Path(captioner.path, "model.safetensors"), "a file, not a folder")
    refused(Path(micro_model.path, "text_encoder"), "cannot be loaded as a BLIP|not a whole model")
    broken = tmp_path / "broken"
    shutil.copytree(captioner.path, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["vision_model.embeddings.patch_embedding.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    refused(broken, "weights are missing")
    (broken / "model.safetensors").write_bytes(b"garbage")
    refused(broken, "cannot be loaded as a BLIP")
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    refused(broken, "no safetensors weights")


@pytest.mark.timeout(60)
def test_a_captioner_of_unreasonable_values_or_pipes_is_told(tmp_path, prepared, raw, captioner):
    def refused(path: Path, message: str) -> None:
        with pytest.raises(UserError, match=message):
            caption(prepared, raw, tmp_path / "out", BlipSettings(), Source(path=str(path)))

    broken = tmp_path / "broken"
    shutil.copytree(captioner.path, broken)
    config = json.loads((broken / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 10**8
    (broken / "config.json").write_text(json.dumps(config))
    refused(broken, "text_config.num_hidden_layers is 100000000, expected a whole number from 1 to 128")
    (broken / "config.json").unlink()
    os.mkfifo(broken / "config.json")
    refused(broken, "a pipe, not a regular file")


def test_a_captioner_that_says_nothing(tmp_path, prepared, raw, captioner, monkeypatch):
    monkeypatch.setattr(Blip, "write", lambda self, files, settings, done: iter([""] * len(files)))
    with pytest.raises(UserError, match="the captioner wrote nothing about it \\(3\\)"):
        caption(prepared, raw, tmp_path / "out", BlipSettings(), captioner)
    caption(prepared, raw, tmp_path / "out", BlipSettings(trigger="sks"), captioner)
    assert texts(tmp_path / "out")["a.png"] == "sks"


def test_out_of_memory_halves_the_batch_and_captions_every_picture(
    tmp_path, prepared, raw, captioner, monkeypatch, capsys
):
    caption(prepared, raw, tmp_path / "one", BlipSettings(max_new_tokens=6, batch_size=1), captioner)
    write = Blip._write

    def small(self, files, settings):
        if len(files) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return write(self, files, settings)

    monkeypatch.setattr(Blip, "_write", small)
    caption(prepared, raw, tmp_path / "out", BlipSettings(max_new_tokens=6, batch_size=4), captioner)
    assert texts(tmp_path / "out") == texts(tmp_path / "one")
    told = capsys.readouterr().err
    assert told.count("captioning: out of memory") == 1 and "caption.batch_size" in told


def test_no_memory_for_the_captioner_is_told(tmp_path, prepared, raw, captioner, monkeypatch):
    def full(self, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Blip, "__init__", full)
    with pytest.raises(UserError, match="captioning: loading the captioner: out of memory(.|\n)*on the CPU"):
        caption(prepared, raw, tmp_path / "out", BlipSettings(), captioner)


def test_what_a_stopped_captioner_has_written_is_not_asked_again(
    tmp_path, prepared, raw, captioner, asked, monkeypatch
):
    settings = BlipSettings(max_new_tokens=6, batch_size=1)
    caption(prepared, raw, tmp_path / "whole", settings, captioner)
    count, asked[:] = len(asked), []
    write = Blip._write

    def stopped(self, files, settings):
        if len(list(tmp_path.glob(".out.kept/*.json"))) == 2:
            raise SystemExit(143)
        return write(self, files, settings)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Blip, "_write", stopped)
        caption(prepared, raw, tmp_path / "out", settings, captioner)
    next(tmp_path.glob(".out.kept/*.json")).write_text("")  # as a power cut may leave it
    asked.clear()
    caption(prepared, raw, tmp_path / "out", settings, captioner)
    assert count > 2 and len(asked) == count - 1
    assert (tmp_path / "out" / "metadata.jsonl").read_bytes() == (tmp_path / "whole" / "metadata.jsonl").read_bytes()
    assert not list(tmp_path.glob(".*"))
