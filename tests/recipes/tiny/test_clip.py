"""The tiny CLIP: what its loss counts, and that the pipeline's Clip reads what it has learned."""

import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from recipes.tiny import clip, workspace
from recipes.tiny.captions import DERIVED_STYLES, QUESTIONS, STYLES, caption
from recipes.tiny.scenes import Scene
from recipes.tiny.tokenizers import write_clip_tokenizer


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A model that has learned nothing, and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = write_clip_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return clip.build(len(tokenizer), tokenizer.eos_token_id).eval(), tokenizer


def make_scene(style: str, thing: str = "cat", colour: str = "blue") -> Scene:
    return Scene(np.zeros((64, 64, 3), np.uint8), thing, style, colour)


@torch.no_grad()
def test_an_unnamed_style_is_not_counted_by_the_loss(fresh, monkeypatch):
    model, tokenizer = fresh
    # The same captions whatever the style, so that the question for the style alone can tell the two losses apart.
    monkeypatch.setattr(clip, "sample_caption", lambda thing, style, colour, rng: caption(thing, None, colour))
    values = torch.rand(4, 3, 64, 64)
    named = ["flat", "soft", "glossy", "outline"]
    losses = [
        clip.compute_loss(model, tokenizer, [make_scene(style) for style in styles], values, random.Random(0))
        for styles in (named, ["", "", *named[2:]])
    ]
    texts = clip.embed_texts(model, tokenizer, [caption(None, style) for style in (*STYLES, *DERIVED_STYLES)])
    right, expected = torch.arange(4), 0.0
    for seen in clip.embed_pictures(model, values):
        logits = model.logit_scale.exp().clamp(max=60) * seen @ texts.T
        each = F.cross_entropy(logits, right, label_smoothing=clip.SMOOTH, reduction="none")
        expected += each[2:].mean() - each.mean()
    assert abs(expected) > 1e-4
    torch.testing.assert_close(losses[1] - losses[0], expected, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_equal_captions_are_right_answers_of_each_other(fresh, monkeypatch):
    model, tokenizer = fresh
    monkeypatch.setattr(clip, "sample_caption", lambda thing, style, colour, rng: "a cat")
    values = torch.rand(1, 3, 64, 64).expand(3, -1, -1, -1)
    loss = clip.compute_loss(model, tokenizer, [make_scene("flat")] * 3, values, random.Random(0))
    questions = [list(names.values()) for names in QUESTIONS.values()]
    questions[1] += [caption(None, style) for style in DERIVED_STYLES]
    expected = 2 * 0.5 * torch.tensor(3.0).log()  # equal pictures and texts: a third for each, both ways
    for texts, said in zip(questions, ("a cat", "flat style", "blue background"), strict=True):
        for seen in clip.embed_pictures(model, values):
            logits = model.logit_scale.exp().clamp(max=60) * seen @ clip.embed_texts(model, tokenizer, texts).T
            right = torch.tensor([texts.index(said)] * 3)
            expected = expected + F.cross_entropy(logits, right, label_smoothing=clip.SMOOTH)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def installed():
    return clip.load(workspace.MODELS / "clip")


def test_the_pipelines_clip_sees_what_the_training_shows(installed):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((64, 64), (48, 80), (80, 48))]
    with torch.no_grad():
        seen, _ = clip.embed_pictures(installed.model, clip.to_values(pictures))
        texts = clip.embed_texts(installed.model, installed.tokenizer, ["a cat", "an owl, flat style", "x"])
    images = [clip.Image.fromarray(picture) for picture in pictures]
    np.testing.assert_allclose(installed.images(images), seen.numpy(), atol=2e-6)
    np.testing.assert_allclose(installed.texts(["a cat", "an owl, flat style", "x"]), texts.numpy(), atol=2e-6)


def test_what_is_read_is_the_nearest_text_of_each_question(installed):
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(5)]
    with torch.no_grad():
        seen, _ = clip.embed_pictures(installed.model, clip.to_values(pictures))
        wanted = []
        for names in QUESTIONS.values():
            texts = clip.embed_texts(installed.model, installed.tokenizer, list(names.values()))
            wanted.append([list(names)[i] for i in (seen @ texts.T).argmax(dim=1).tolist()])
    assert clip.read(installed, pictures, batch=2) == list(zip(*wanted, strict=True))


def test_a_flat_colour_is_read(installed):
    plain = {"red": (214, 48, 49), "blue": (52, 92, 212), "white": (243, 243, 243)}
    pictures = [np.full((48, 80, 3), colour, np.uint8) for colour in plain.values()]
    assert [colour for _, _, colour in clip.read(installed, pictures)] == list(plain)


def test_generated_scenes_are_given_back_as_they_were_written(workshop):
    assert clip.GeneratedScenes().sample(3, random.Random(0)) == []
    pictures = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    labels = np.array([(f"thing{i}", "flat", "blue") for i in range(4)])
    for part in (0, 1):
        half = slice(2 * part, 2 * part + 2)
        workspace.write_arrays(workshop / "generated" / f"{part}.npz", pictures=pictures[half], labels=labels[half])
    drawn = clip.GeneratedScenes().sample(50, random.Random(0))
    assert {scene.thing for scene in drawn} == {f"thing{i}" for i in range(4)}
    for scene in drawn:
        assert (scene.pixels == pictures[int(scene.thing[-1])]).all()
