"""The tiny tokenizers: a real CLIP BPE and a real BERT WordPiece in which every word of ours is one token."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

from transformers import BertTokenizer, CLIPTokenizer

from recipes.tiny.labels import COLOURS, SPARE_WORDS, STYLES, THINGS

LENGTH = 32  # tokens in a text, start and end included
START, END = "<|startoftext|>", "<|endoftext|>"


def words() -> list[str]:
    """Every word that is one token, in a fixed order."""
    ours = ["a", "an", *THINGS, *STYLES, "style", *COLOURS, "background", *SPARE_WORDS]
    return list(dict.fromkeys(ours))


def byte_letters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order of its vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = [b for b in range(256) if b not in shown]
    table = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(spare)}
    return [table[b] for b in (*shown, *spare)]


def split(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """BPE of one word under the merges so far: always the merge of lowest rank first."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    while len(pieces) > 1:
        pairs = list(zip(pieces, pieces[1:], strict=False))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        at = pairs.index(best)
        pieces[at : at + 2] = ["".join(best)]
    return pieces


def merges_for(vocabulary: list[str]) -> list[tuple[str, str]]:
    """Merges after which each word is one token.

    New merges rank last, so a word that is whole already is never broken by a later one.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in vocabulary:
        while len(pieces := split(word, ranks)) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
    return list(ranks)


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write a CLIPTokenizer folder (vocab.json, merges.txt and tokenizer.json) and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = merges_for(words())
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(m) for m in merges), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH, pad_token=END, unk_token=END)
    tokenizer.save_pretrained(folder)
    # transformers 5 saves tokenizer.json alone; other loaders (kohya's) read these two.
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def bert_tokenizer(folder: Path) -> BertTokenizer:
    """Write a BertTokenizer folder (vocab.txt too) with characters to fall back on, and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    letters = string.ascii_lowercase + string.digits
    tokens = [*special, *string.punctuation, *letters, *("##" + letter for letter in letters), *words()]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = BertTokenizer(
        vocab=vocab,
        do_lower_case=True,
        model_max_length=LENGTH,
        bos_token="[DEC]",
        clean_up_tokenization_spaces=True,
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", "utf-8")
    return BertTokenizer.from_pretrained(folder)


def plain(text: str) -> str:
    """Text in the captions' form: lower case, single spaces, no space before a comma."""
    return re.sub(r"\s+", " ", text.lower()).replace(" ,", ",").strip()
