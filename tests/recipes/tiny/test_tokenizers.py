"""Captions in other words: what is changed, how often, and what never is."""

import random

import numpy as np
import pytest

from recipes.tiny.labels import caption
from recipes.tiny.tokens import LENGTH, clip_tokenizer
from recipes.tiny.wording import Rewording


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return clip_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def said(tokenizer, text, seed, rewording=None):
    ids = np.array(tokenizer(text, padding="max_length", max_length=LENGTH).input_ids, np.int16)
    rewording = rewording or Rewording(tokenizer)
    return ids, rewording(ids, random.Random(seed))


def text_of(tokenizer, ids):
    return tokenizer.decode(ids.tolist(), skip_special_tokens=True).replace(" ,", ",").strip()


def test_most_captions_stay_and_all_stay_well_formed(tokenizer):
    text = caption("cat", "flat", "blue")
    rewording, same = Rewording(tokenizer), 0
    for seed in range(400):
        ids, out = said(tokenizer, text, seed, rewording)
        assert out.shape == ids.shape and out.dtype == ids.dtype
        assert out[0] == ids[0] and out[-1] == tokenizer.eos_token_id
        # The end token fills all that follows the first one.
        end = int(np.argmax(out == tokenizer.eos_token_id))
        assert (out[end:] == tokenizer.eos_token_id).all()
        same += np.array_equal(out, ids)
        assert "blue background" in text_of(tokenizer, out)
    # 0.85 names, 0.95 styles, 0.8 extras, and five sixths of the 0.05 shuffles are left: 0.62
    assert 0.54 < same / 400 < 0.70


def test_a_made_up_name_stands_where_the_thing_stood(tokenizer):
    changed = [text_of(tokenizer, said(tokenizer, caption("cat"), seed)[1]) for seed in range(300)]
    assert 0.1 < sum("cat" not in text for text in changed) / 300 < 0.22


def test_a_redrawn_styles_name_is_never_made_unknown(tokenizer):
    for seed in range(300):
        _, out = said(tokenizer, caption("cat", "drawing", "blue"), seed)
        assert "drawing style" in text_of(tokenizer, out)


def test_the_empty_caption_stays_a_caption(tokenizer):
    for seed in range(50):
        _, out = said(tokenizer, "", seed)
        assert out[0] != tokenizer.eos_token_id and out[-1] == tokenizer.eos_token_id
