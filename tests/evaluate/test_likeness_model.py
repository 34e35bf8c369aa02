"""Likeness by another model than CLIP: DINOv2, with registers or without, and SigLIP."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    BitImageProcessorPil,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from lorakiln.artefacts.json_files import read_json
from lorakiln.console.errors import UserError
from lorakiln.evaluate import evaluate
from lorakiln.evaluate.likeness_model import LikenessModel
from lorakiln.schema.model import Source
from tests.evaluate.conftest import SETTINGS

SIZE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
}
PATCHES = 4


def write_model(folder, model, processor):
    torch.manual_seed(0)
    model().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_siglip():
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return SiglipModel(SiglipConfig(text_config={**text, "vocab_size": 10}, vision_config=SIZE))


MODELS = {
    "dinov2": lambda: Dinov2Model(Dinov2Config(**SIZE)),
    "dinov2_with_registers": lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZE, num_register_tokens=3)),
    "siglip": make_siglip,
}
SMALL = {"size": {"height": 16, "width": 16}, "do_center_crop": False}


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    processor = SiglipImageProcessorPil if request.param == "siglip" else BitImageProcessorPil
    with torch.random.fork_rng(devices=[]):
        return write_model(tmp_path_factory.mktemp(request.param), MODELS[request.param], processor(**SMALL))


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{one}.png" for one in range(3)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(file)
    return files


def test_embeddings_and_patches_are_the_models_own(folder, pictures):
    model = LikenessModel.load(Source(path=str(folder)), torch.device("cpu"))
    whole = AutoModel.from_pretrained(folder).eval()
    images = [Image.open(file) for file in pictures]
    pixels = model.processor(images=images, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (3, 3, 16, 16)
    with torch.inference_mode():
        found = getattr(whole, "vision_model", whole)(pixel_values=pixels, output_hidden_states=True)
    expected = torch.nn.functional.normalize(found.pooler_output, dim=-1)
    np.testing.assert_allclose(model.pictures(pictures, batch_size=2), expected, atol=1e-5)
    # Half of the way up two layers stands what the first gave; registers and the class token come before the patches.
    patches = torch.nn.functional.normalize(found.hidden_states[1][:, -PATCHES:], dim=-1)
    np.testing.assert_allclose(model.parts(pictures), patches, atol=1e-5)


def test_what_has_no_eyes_is_told(tmp_path):
    size = {name: value for name, value in SIZE.items() if name not in ("image_size", "patch_size")}
    with torch.random.fork_rng(devices=[]):
        write_model(
            tmp_path / "bert", lambda: BertModel(BertConfig(**size, vocab_size=10)), BitImageProcessorPil(**SMALL)
        )
    with pytest.raises(UserError, match="a bert gives no embedding of a picture with patches"):
        LikenessModel.load(Source(path=str(tmp_path / "bert")), torch.device("cpu"))
    with pytest.raises(UserError, match="cannot load the likeness model"):
        LikenessModel.load(Source(path=str(tmp_path)), torch.device("cpu"))


def test_the_report_measures_likeness_by_it_and_all_else_by_clip(tmp_path, folders, judged_model):
    with torch.random.fork_rng(devices=[]):
        write_model(tmp_path / "dino-tiny", MODELS["dinov2"], BitImageProcessorPil(**SMALL))
    few = SETTINGS.model_copy(update={"prompts": ["a cat", "a dog"], "without_trigger": False, "between": []})
    other = few.model_copy(update={"likeness": Source(path=str(tmp_path / "dino-tiny"))})
    numbers = []
    for place, settings in (("clip", few), ("dino", other)):
        evaluate(*folders, tmp_path / place, settings, judged_model)
        numbers.append(read_json(tmp_path / place / "metrics.json"))
    first, second = numbers
    by_likeness = {"image_similarity", "nearest_similarity", "detail_similarity"}
    changed = {
        name for name in by_likeness | {"clip_score", "seed_similarity", "damage"} if first[name] != second[name]
    }
    assert changed == by_likeness
    page = (tmp_path / "dino/report.html").read_text()
    assert "mean dino-tiny cosine between a picture and all training pictures" in page
