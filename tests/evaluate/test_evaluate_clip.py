"""CLIP's embeddings against transformers' own forward."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from lorakiln.console.errors import UserError
from lorakiln.evaluate.clip import Clip
from lorakiln.schema.model import Source


def test_embeddings_equal_the_models_own(micro_clip, tmp_path):
    texts = ["a red cat", "blue"]
    images = [Image.effect_noise((24, 20), 80).convert("RGB"), Image.new("L", (16, 16), 90).convert("RGB")]
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.png")
        image.save(paths[-1])
    model = CLIPModel.from_pretrained(micro_clip).eval()
    tokens = AutoTokenizer.from_pretrained(micro_clip)(texts, padding=True, return_tensors="pt")
    pixels = CLIPImageProcessorPil.from_pretrained(micro_clip)(images=images, return_tensors="pt")
    with torch.no_grad():
        expected = model(**tokens, **pixels)
    clip = Clip.load(Source(path=str(micro_clip)), torch.device("cpu"))
    np.testing.assert_allclose(clip.texts(texts), expected.text_embeds, atol=1e-5)
    np.testing.assert_allclose(clip.pictures(paths), expected.image_embeds, atol=1e-5)
    np.testing.assert_array_equal(clip.images(images), clip.pictures(paths))


def test_batches_change_nothing_and_long_texts_are_cut(micro_clip, tmp_path):
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (16, 16), (number * 50, 10, 10)).save(paths[-1])
    clip = Clip.load(Source(path=str(micro_clip)), torch.device("cpu"))
    np.testing.assert_allclose(clip.pictures(paths, batch_size=2), clip.pictures(paths, batch_size=5), atol=1e-5)
    assert clip.texts(["word " * 200]).shape == (1, 12)


@pytest.mark.timeout(60)
def test_a_clip_of_unreasonable_values_or_pipes_is_told(micro_clip, tmp_path):
    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message):
            Clip.load(Source(path=str(tmp_path / "clip")), torch.device("cpu"))

    shutil.copytree(micro_clip, tmp_path / "clip")
    config = json.loads((tmp_path / "clip/config.json").read_text())
    for value, message in (
        ({"hidden_size": "a"}, "vision_config.hidden_size is 'a', expected a whole number"),
        ({"num_hidden_layers": 10**8}, "vision_config.num_hidden_layers is 100000000"),
        ({"hidden_act": "none"}, "cannot load CLIP"),
    ):
        changed = {**config, "vision_config": {**config["vision_config"], **value}}
        (tmp_path / "clip/config.json").write_text(json.dumps(changed))
        refused(message)
    (tmp_path / "clip/config.json").write_text("[" * 200_000)
    refused("nested too deep")
    (tmp_path / "clip/model.safetensors").unlink()
    os.mkfifo(tmp_path / "clip/model.safetensors")
    refused("a pipe, not a regular file")


def test_out_of_memory_halves_what_is_looked_at_and_changes_no_embedding(micro_clip, tmp_path, monkeypatch, capsys):
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (16, 16), (number * 50, 10, 10)).save(paths[-1])
    clip = Clip.load(Source(path=str(micro_clip)), torch.device("cpu"))
    expected, images = clip.pictures(paths), Clip.images

    def limit(most):
        def limited(self, some):
            if len(some) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return images(self, some)

        monkeypatch.setattr(Clip, "images", limited)

    limit(2)
    np.testing.assert_allclose(clip.pictures(paths, batch_size=4), expected, atol=1e-5)
    assert capsys.readouterr().err.count("judging: out of memory with 4 at once") == 1
    limit(0)
    with pytest.raises(UserError, match="judging: out of memory with one picture at once(.|\n)*evaluate.device=cpu"):
        clip.pictures(paths)


def test_no_memory_for_clip_itself_is_told(micro_clip, monkeypatch):
    clip = Clip.load(Source(path=str(micro_clip)), torch.device("cpu"))

    def full(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CLIPModel, "to", full)
    with pytest.raises(UserError, match="loading CLIP: out of memory(.|\n)*evaluate.device=cpu"):
        clip.to(torch.device("cpu"))
