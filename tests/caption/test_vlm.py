"""Vision-language models of transformers': what each writes is what its own documentation makes it write."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, BertConfig

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.captioners.vlm.model import INSTRUCTION, Vlm
from lorakiln.console.errors import UserError
from lorakiln.schema.captioners.vlm import VlmSettings
from lorakiln.schema.model import Source
from tests.caption.small_vlms import OTHERS, QWENS

NOWHERE = Source(path="./nowhere")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Gives the folder of a small model by its name, made once."""
    base = tmp_path_factory.mktemp("vlms")

    def make(name):
        if not (base / name).exists():
            (base / name).mkdir()
            (QWENS | OTHERS)[name](base / name)
        return base / name

    return make


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures of two sizes."""
    base = tmp_path_factory.mktemp("pictures")
    for number, size in enumerate([(48, 64, 3), (48, 64, 3), (48, 64, 3), (64, 48, 3)]):
        noise = np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(noise).save(base / f"{number}.png")
    return sorted(base.iterdir())


def write(folder, files, **settings):
    settings = VlmSettings(**{"max_new_tokens": 8, "batch_size": 2, **settings})
    return list(Vlm.load(folder, CPU, settings.precision).write(files, settings))


def generate(folder, inputs, **options):
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model.generate(**inputs, max_new_tokens=8, do_sample=False, **options)


def ask_qwen(folder, file, prompt):
    """As transformers' processor does it, whose films need torchvision: a token for every 2 x 2 patches."""
    picture = AutoImageProcessor.from_pretrained(folder, backend="pil")(Image.open(file), return_tensors="pt")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    seen = "<|image_pad|>" * (int(picture["image_grid_thw"].prod()) // 4)
    words = f"<|im_start|><|vision_start|>{seen}<|vision_end|> {prompt} <|im_end|><|im_start|>"
    tokens = tokenizer(words, return_tensors="pt")
    tokens = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    kinds = {"mm_token_type_ids": (tokens["input_ids"] == 5).int()}
    written = generate(folder, {**tokens, **picture, **kinds})[0, tokens["input_ids"].shape[1] :]
    return tokenizer.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("name", QWENS)
def test_qwen_is_asked_in_its_own_form(folder, files, name):
    written = write(folder(name), files)
    assert written == [ask_qwen(folder(name), file, INSTRUCTION) for file in files]
    assert len(set(written)) > 1
    (other,) = write(folder(name), files[-1:], prompt="a small cat")
    assert other == ask_qwen(folder(name), files[-1], "a small cat") != written[-1]


@pytest.mark.parametrize(
    ("name", "prompt", "asked"),
    [
        ("blip_2", None, ""),
        ("blip_2", "a small", "a small"),
        ("git", None, ""),
        ("florence2", None, "<DETAILED_CAPTION>"),
        ("florence2", "<CAPTION>", "<CAPTION>"),
    ],
)
def test_others_are_asked_in_theirs(folder, files, name, prompt, asked):
    processor = AutoProcessor.from_pretrained(folder(name))
    expected = []
    for file in files:
        words = {"text": asked} if asked else {}
        inputs = processor(images=Image.open(file), **words, return_tensors="pt")
        written = generate(folder(name), inputs)
        begun = inputs["input_ids"].shape[1] if name == "blip_2" and asked else 0
        expected.append(processor.batch_decode(written[:, begun:], skip_special_tokens=True)[0].strip())
    assert write(folder(name), files, prompt=prompt) == expected
    assert len(set(expected)) > 1


def test_an_encoder_with_a_decoder_has_no_processor_of_its_own(folder, files):
    pictures = AutoImageProcessor.from_pretrained(folder("vit_gpt2"), backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder("vit_gpt2"))
    pixels = [pictures(Image.open(file), return_tensors="pt") for file in files]
    expected = [tokenizer.decode(generate(folder("vit_gpt2"), one)[0], skip_special_tokens=True) for one in pixels]
    assert write(folder("vit_gpt2"), files) == expected and len(set(expected)) > 1
    with pytest.raises(UserError, match="cannot caption with the prompt 'a cat'"):
        write(folder("vit_gpt2"), files, prompt="a cat")


def test_git_goes_on_from_a_beginning(folder, files):
    processor = AutoProcessor.from_pretrained(folder("git"))
    # Its documentation: [CLS] and the question's tokens, without [SEP].
    tokens = [2, *processor.tokenizer("a small", add_special_tokens=False).input_ids]
    pixels = processor(images=Image.open(files[0]), return_tensors="pt")["pixel_values"]
    written = generate(folder("git"), {"pixel_values": pixels, "input_ids": torch.tensor([tokens])})
    (text,) = write(folder("git"), files[:1], prompt="a small")
    assert text == processor.tokenizer.decode(written[0, len(tokens) :], skip_special_tokens=True)


@pytest.mark.parametrize("name", ["qwen2_vl", "git"])
def test_the_batch_does_not_change_the_texts(folder, files, name):
    texts = [write(folder(name), files, batch_size=size) for size in (1, 3, 4)]
    assert texts[0] == texts[1] == texts[2]


def test_no_word_comes_twice_where_it_shall_not(folder, files):
    plain = write(folder("qwen3_vl"), files)
    assert any(len(set(text.split())) < len(text.split()) for text in plain)
    once = write(folder("qwen3_vl"), files, no_repeat_ngram_size=1)
    assert all(len(set(text.split())) == len(text.split()) for text in once)
    assert write(folder("qwen3_vl"), files, repetition_penalty=5.0) != plain


def test_what_gives_no_text_is_refused(folder, files):
    with pytest.raises(UserError, match="<OD> gives places, no caption") as refused:
        write(folder("florence2"), files, prompt="<OD>")
    assert refused.value.fix == "one of <OCR>, <CAPTION>, <DETAILED_CAPTION>, <MORE_DETAILED_CAPTION>"
    with pytest.raises(UserError, match="florence2 cannot caption with the prompt '<CAPTION> of a cat'"):
        write(folder("florence2"), files, prompt="<CAPTION> of a cat")


def test_the_stage_captions_with_it_once(tmp_path, prepared, raw, folder, capsys):
    settings = VlmSettings(source=Source(path=str(folder("git"))), max_new_tokens=4, trigger="sks")
    caption(prepared, raw, tmp_path / "out", settings, NOWHERE)
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    assert {name: rows[name]["written"] for name in ("a.png", "c.png", "e.png")} == dict(
        zip(
            ("a.png", "c.png", "e.png"),
            write(folder("git"), [prepared / f"{name}.png" for name in "ace"], max_new_tokens=4),
            strict=True,
        )
    )
    assert rows["a.png"]["caption_source"] == "vlm" and rows["a.png"]["text"].startswith("sks, ")
    caption(prepared, raw, tmp_path / "out", settings, NOWHERE)
    assert "3 by the captioner (0 new)" in capsys.readouterr().out


def refused(folder, message):
    with pytest.raises(UserError, match=message) as caught:
        Vlm.load(folder, CPU, "auto")
    return caught.value


def test_what_needs_torchvision_is_refused_with_the_reason(tmp_path, folder):
    shutil.copytree(folder("git"), tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "lfm2_vl"}')
    (tmp_path / "model" / "processor_config.json").unlink()
    (tmp_path / "model" / "preprocessor_config.json").write_text('{"image_processor_type": "Lfm2VlImageProcessorFast"}')
    told = refused(tmp_path / "model", "processes pictures for lfm2_vl with torchvision alone, which is not used here")
    assert "Qwen-VL" in told.fix


def test_what_is_no_such_model_is_refused(tmp_path, folder):
    broken = tmp_path / "model"
    shutil.copytree(folder("git"), broken)
    weights = load_file(broken / "model.safetensors")
    del weights["git.encoder.layer.0.intermediate.dense.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    refused(broken, "weights are missing")
    BertConfig().save_pretrained(broken)
    refused(broken, "bert is no image-to-text model")
    # Code that lies with a model is not run, whatever its config says.
    (broken / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    theirs = {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}
    (broken / "config.json").write_text(json.dumps(theirs))
    refused(broken, "cannot be loaded as an image-to-text model")
    assert not (tmp_path / "ran").exists()
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    refused(broken, "no safetensors weights of a captioner")
