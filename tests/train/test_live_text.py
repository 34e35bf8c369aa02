"""Texts read while training goes on: the embeddings that `encode` writes where nothing is trained in the encoders."""

import numpy as np
import pytest
import torch

from lorakiln.console.memory import Batch
from lorakiln.encode.conditioning import encode_captions
from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.train.batch_schedule import GlobalBatch
from lorakiln.train.live_text import LiveText, OwnCaptions
from tests.families.reduced import write_reduced

TEXTS = ["sks, a red cat", "", "a blue cat " * 9, "sks", "a red cat, " * 20]


@pytest.fixture(scope="module", params=["micro", "sdxl"])
def family(request, micro_family, tmp_path_factory):
    """A base with one text encoder, and one with two and a pooled text."""
    if request.param == "micro":
        return micro_family
    path = write_reduced(tmp_path_factory.mktemp("live") / "sdxl", "sdxl")
    sides = {"resolution": 32, "bucket_min": 16, "bucket_max": 64, "bucket_step": 16}
    source = {"path": "models/tiny/clip"}
    return load_family(ModelSettings(family="sdxl", path=str(path), captioner=source, clip=source, **sides), ("text",))


@pytest.mark.parametrize(
    "encode",
    [
        EncodeSettings(batch_size=3),
        EncodeSettings(batch_size=2, clip_skip=2, max_tokens=225),
        EncodeSettings(batch_size=4, dtype="float16"),
    ],
    ids=["plain", "skipped and chunked", "half"],
)
def test_what_is_frozen_is_read_to_the_bit_as_encode_writes_it(family, encode):
    dtype, live = getattr(torch, encode.dtype), LiveText.of(family, encode, trained=False)
    at_once = Batch(encode.batch_size, "encoding")
    expected = list(encode_captions(family, TEXTS, PromptEncoding.of(encode), at_once, dtype))
    # In another order, some twice, and some of them read before.
    order = [3, 0, 0, 4, 1, 2]
    for chosen in (order[:2], order):
        found = live.encode([TEXTS[number] for number in chosen])
        for row, number in enumerate(chosen):
            for name, value in expected[number].items():
                assert found[name].dtype == dtype and torch.equal(found[name][row], value)


def test_gradients_reach_what_is_trained_in_every_encoder(family):
    live = LiveText(family, PromptEncoding(1, 2), trained=True)
    names = [part for part in family.adaptable() if part != family.part]
    weights = {part: family.adaptable()[part].get_input_embeddings().weight for part in names}
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        told = live.encode(TEXTS)
        for name, value in family.encode_prompts(TEXTS, live.encoding).items():
            assert torch.equal(told[name].detach(), value)
        found = torch.autograd.grad(sum(value.square().sum() for value in told.values()), list(weights.values()))
        assert len(found) == len(names) and all(one.any() for one in found)
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)


def test_a_rows_own_caption_is_that_of_the_picture_that_the_schedule_means(make_module):
    module = make_module()
    captions = OwnCaptions(module.encoded.buckets, [torch.tensor([2, 0]), torch.tensor([1])])
    samples = GlobalBatch(0, np.array([1, 0, 1]), np.zeros(3, np.int64))
    assert captions.texts(0, samples, slice(1, 3)) == ["sks, a green cat", "sks, a red cat"]
    assert captions.texts(5, GlobalBatch(1, np.array([0]), np.zeros(1, np.int64)), slice(0, 1)) == ["sks, a blue cat"]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_step_on_texts_read_now_is_the_step_on_embeddings_made_ahead(make_module, micro_family, dropout):
    """The embeddings of the micro dataset were made in batches of four and two."""
    given = {"objective": {"caption_dropout": dropout}, "batch_size": 4}
    ahead, now = make_module(**given), make_module(live=LiveText(micro_family, batch_size=4), **given)
    for step in range(4):
        losses = []
        for module in (ahead, now):
            module.done, samples = step, module.schedule(step)
            losses.append(module.loss(samples, module.make_draws(step, samples), slice(0, 4)).item())
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert now.captions.texts(0, now.schedule(0), slice(0, 2)) == [
        now.encoded.buckets[now.schedule(0).bucket].rows[row].text for row in now.schedule(0).pictures[:2]
    ]
