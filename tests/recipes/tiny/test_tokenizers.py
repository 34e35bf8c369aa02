"""The tokenizers, and captions in other words: what is changed, how often, and what never is."""

import random

import numpy as np
import pytest

from recipes.tiny.captions import caption
from recipes.tiny.tokenizers import LENGTH, Rewording, list_words, write_bert_tokenizer, write_clip_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_clip_tokenizer(tmp_path_factory.mktemp("tokenizer"))


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


def test_a_derived_styles_name_is_never_made_unknown(tokenizer):
    for seed in range(300):
        _, out = said(tokenizer, caption("cat", "drawing", "blue"), seed)
        assert "drawing style" in text_of(tokenizer, out)


def test_an_unknown_style_stands_in_one_caption_of_twenty(tokenizer):
    texts = [text_of(tokenizer, said(tokenizer, caption("cat", "flat"), seed)[1]) for seed in range(600)]
    assert 0.03 < sum("flat style" not in text for text in texts) / 600 < 0.08
    assert all("style" in text for text in texts)


def test_the_empty_caption_gets_words_as_often_as_others_and_is_else_as_it_was(tokenizer):
    empty = 0
    for seed in range(400):
        ids, out = said(tokenizer, "", seed)
        assert out[0] == ids[0] and out[-1] == tokenizer.eos_token_id
        empty += np.array_equal(out, ids)
    assert 0.74 < empty / 400 < 0.86


def test_the_same_draws_say_the_same_words(tokenizer):
    # A stopped training loads its tokenizer again, and two processes each have one.
    one, other = Rewording(tokenizer), Rewording(tokenizer)
    assert all(one.invent_word(random.Random(seed)) == other.invent_word(random.Random(seed)) for seed in range(20))


def test_every_word_is_one_token_and_any_other_is_spelled(tmp_path):
    tokenizer = write_clip_tokenizer(tmp_path / "clip")
    for word in list_words():
        assert len(tokenizer.tokenize(word)) == 1, word
    spelled = tokenizer("a zyxwv é", add_special_tokens=False).input_ids
    assert tokenizer.decode(spelled) == "a zyxwv é"
    assert (tmp_path / "clip" / "vocab.json").exists() and (tmp_path / "clip" / "merges.txt").exists()
    assert tokenizer("").input_ids == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def test_captions_survive_the_bert_tokenizer(tmp_path):
    tokenizer = write_bert_tokenizer(tmp_path)
    text = caption("owl", "soft", "gray")
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
