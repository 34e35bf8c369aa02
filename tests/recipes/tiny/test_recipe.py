"""The recipe's own arithmetic, in seconds: words, tokens, scenes, latents' bookkeeping, the mascot."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.tiny import labels, mascot, measure, scenes, tokens, vae


def test_names_suit_captions():
    assert len(labels.THINGS) >= 100
    assert len(set(labels.THINGS.values())) == len(labels.THINGS)
    assert len(labels.COLOURS) == 10
    assert not set(labels.THINGS) & (set(labels.COLOURS) | set(labels.STYLES))
    assert "outline" not in labels.BASE_STYLES
    assert labels.caption("apple", "flat", "blue") == "an apple, flat style, blue background"
    assert labels.caption(None) == ""


def test_a_sixth_of_the_captions_are_partial():
    rng = random.Random(0)
    said = [labels.spoken("cat", "flat", "blue", rng) for _ in range(4000)]
    full = sum(text == "a cat, flat style, blue background" for text in said) / len(said)
    assert 0.80 < full < 0.86
    assert all(text.startswith("a cat") for text in said)


def test_every_word_is_one_token_and_any_other_is_spelled(tmp_path):
    tokenizer = tokens.clip_tokenizer(tmp_path / "clip")
    for word in tokens.words():
        assert len(tokenizer.tokenize(word)) == 1, word
    spelled = tokenizer("a zyxwv é", add_special_tokens=False).input_ids
    assert tokenizer.decode(spelled) == "a zyxwv é"
    assert (tmp_path / "clip" / "vocab.json").exists() and (tmp_path / "clip" / "merges.txt").exists()
    assert tokenizer("").input_ids == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def test_captions_survive_the_bert_tokenizer(tmp_path):
    tokenizer = tokens.bert_tokenizer(tmp_path)
    text = labels.caption("owl", "soft", "gray")
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("size", scenes.SIZES)
def test_a_sprite_stays_inside_and_the_ground_keeps_its_colour(size):
    rng = random.Random(3)
    for name, colour in labels.COLOURS.items():
        ground = scenes.background(colour, size, rng)
        nearest = min(labels.COLOURS, key=lambda n: np.abs(ground.mean((0, 1)) - labels.COLOURS[n]).sum())
        assert nearest == name
        picture = scenes.place(Image.new("RGBA", (64, 40), (0, 0, 0, 255)), ground.copy(), rng)
        assert picture.shape == (size[1], size[0], 3) and picture.dtype == np.uint8
        black = (picture == 0).all(-1)
        assert 0.55 * min(size) <= np.flatnonzero(black.any(0)).size <= 0.95 * min(size)


def test_psnr_in_closed_form():
    assert vae.decibels(4.0) == 0
    assert vae.decibels(0.04) == pytest.approx(20)


def test_the_kilnling_is_the_same_every_time():
    one, two = (np.asarray(mascot.kilnling("waving", "happy", 48)) for _ in range(2))
    assert (one == two).all()
    poses = {np.asarray(mascot.kilnling(pose, "happy", 48)).tobytes() for pose in mascot.POSES}
    assert len(poses) == len(mascot.POSES)


def test_bars_are_compared_part_by_part():
    good = {part: dict(bars) for part, bars in measure.BARS.items()}
    assert measure.shortfalls(good) == []
    good["sd"]["thing"] = 0.5
    assert measure.shortfalls(good) == ["sd: thing is 0.5, the bar is 0.7"]


def test_min_snr_weights_the_noise_error():
    from recipes.tiny.diffusion import GAMMA, loss_of

    class Blank(torch.nn.Module):
        def forward(self, noisy, times, ids):
            return torch.zeros_like(noisy)

    torch.manual_seed(0)
    alphas = torch.full((10,), 0.99)  # snr 99, far above the cap
    found = loss_of(Blank(), alphas, torch.zeros(64, 8, 8, 8), torch.zeros(64, 32, dtype=torch.long))
    assert found.item() == pytest.approx(GAMMA / 99 * (100 / 99) / 4, rel=0.05)
