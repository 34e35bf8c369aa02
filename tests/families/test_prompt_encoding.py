"""Prompts in chunks, against the tokenizer's own output and against kohya's way step by step."""

import pytest
import torch
from transformers import CLIPTokenizer

from lorakiln.families.prompt_encoding import PromptEncoding, join_chunks, split_chunks
from lorakiln.schema.encode import EncodeSettings

PROMPTS = ["", "a cat", "a " * 29 + "cat", "a red cat " * 10, "a red cat " * 13, "a red cat " * 40]


@pytest.fixture(params=["end", "another"])
def tokenizer(micro_model, request):
    """Padding with the end's token, as Stable Diffusion 1.x, or with another, as 2.x and SDXL's second encoder."""
    made = CLIPTokenizer.from_pretrained(f"{micro_model.path}/tokenizer")
    made.pad_token = made.eos_token if request.param == "end" else "a"
    return made


def test_one_chunk_is_what_the_tokenizer_makes(tokenizer):
    expected = tokenizer(PROMPTS, padding="max_length", max_length=32, truncation=True, return_tensors="pt")
    ids, mask = split_chunks(tokenizer, PROMPTS, 32, 1)
    assert torch.equal(ids[:, 0], expected.input_ids) and torch.equal(mask[:, 0], expected.attention_mask)


@pytest.mark.parametrize("chunks", [2, 3])
def test_chunks_are_kohyas(tokenizer, chunks):
    """He has the tokenizer pad to the whole length, cuts that, and mends each piece's end."""
    whole = 30 * chunks + 2
    flat = tokenizer(PROMPTS, padding="max_length", max_length=whole, truncation=True, return_tensors="pt").input_ids
    begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    for row, found in zip(flat.tolist(), split_chunks(tokenizer, PROMPTS, 32, chunks)[0].tolist(), strict=True):
        for number, chunk in enumerate(found):
            piece = [begin, *row[1 + 30 * number : 31 + 30 * number], row[-1]]
            if pad != end:
                full = number * 30 + 30 < (row.index(end) if end in row else whole)
                piece[-1] = end if full else pad
                piece[1] = end if end not in piece else piece[1]
            assert chunk == piece


def test_one_sequence_is_made_of_the_chunks(tokenizer):
    ids, _ = split_chunks(tokenizer, ["a red cat", "a " * 31], 32, 3)
    states = torch.arange(2 * 3 * 32).float().reshape(2, 3, 32, 1)
    found = join_chunks(states, ids, tokenizer.eos_token_id, tokenizer.pad_token_id)[..., 0]
    assert found.shape == (2, 92)
    rows = torch.arange(2 * 3 * 32).reshape(2, 3, 32)
    for row, empty in ((0, (1, 2)), (1, (2,))):
        inner = rows[row, :, 1:31].clone()
        if tokenizer.pad_token_id != tokenizer.eos_token_id:
            for chunk in empty:
                inner[chunk, 0] = inner[chunk, 1]
        expected = [int(rows[row, 0, 0]), *inner.flatten().tolist(), int(rows[row, 2, 31])]
        assert found[row].tolist() == expected


def test_what_is_behind_the_first_chunk_is_read(micro_family):
    long, longer = "red " * 30 + "blue", "red " * 30 + "blue cat"
    one = [micro_family.encode_prompts([text])["prompt_embeds"] for text in (long, longer)]
    two = [micro_family.encode_prompts([text], PromptEncoding(chunks=2))["prompt_embeds"] for text in (long, longer)]
    assert torch.equal(*one) and not torch.equal(*two)
    assert two[0].shape[1] == 62
    assert torch.allclose(two[0][:, :31], one[0][:, :31], atol=1e-6)
    assert micro_family.unread(longer) == "blue cat" and micro_family.unread(longer, 2) == ""


def test_settings_make_a_reading():
    assert PromptEncoding.of(EncodeSettings()) == PromptEncoding(1, 1)
    assert PromptEncoding.of(EncodeSettings(clip_skip=2, max_tokens=225)) == PromptEncoding(2, 3)
