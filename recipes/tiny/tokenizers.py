"""The tiny tokenizers: a real CLIP BPE and a real BERT WordPiece in which every word of ours is one token; and captions
in other words, token by token."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import numpy as np
from transformers import BertTokenizer, CLIPTokenizer

from recipes.tiny.captions import BASE_STYLES, COLOURS, DERIVED_STYLES, SPARE_WORDS, STYLES, THINGS

LENGTH = 32  # tokens in a text, start and end included
START, END = "<|startoftext|>", "<|endoftext|>"
NAME, STYLE, EXTRA, ORDER = 0.15, 0.05, 0.20, 0.05  # shares of captions that Rewording changes; some get several


def list_words() -> list[str]:
    """Every word that is one token, in a fixed order."""
    ours = ["a", "an", *THINGS, *STYLES, "style", *COLOURS, "background", *SPARE_WORDS]
    return list(dict.fromkeys(ours))


def list_byte_letters() -> list[str]:
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


def find_merges(vocabulary: list[str]) -> list[tuple[str, str]]:
    """Merges after which each word is one token.

    New merges rank last, so a word that is whole already is never broken by a later one.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in vocabulary:
        while len(pieces := split(word, ranks)) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
    return list(ranks)


def write_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write a CLIPTokenizer folder (vocab.json, merges.txt and tokenizer.json) and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = find_merges(list_words())
    letters = list_byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(m) for m in merges), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH, pad_token=END, unk_token=END)
    tokenizer.save_pretrained(folder)
    # transformers 5 saves tokenizer.json alone; other loaders (kohya's) read these two.
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def write_bert_tokenizer(folder: Path) -> BertTokenizer:
    """Write a BertTokenizer folder (vocab.txt too) with characters to fall back on, and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    letters = string.ascii_lowercase + string.digits
    tokens = [*special, *string.punctuation, *letters, *("##" + letter for letter in letters), *list_words()]
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


class Rewording:
    """Changes token ids (32,) of captions: made-up names, unknown styles, extra words, another order.

    A base that has only ever read its own captions ignores all of a caption that holds one unknown word. People name
    their characters with words that no base knows, so the rest of such a caption must still count.
    """

    def __init__(self, tokenizer) -> None:
        # By number: the tokenizer tells its vocabulary in another order each time, and draws follow from the order.
        vocab = dict(sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]))
        self.start, self.end, self.comma = vocab[START], tokenizer.eos_token_id, vocab[",</w>"]
        self.style = vocab["style</w>"]
        self.articles = {vocab["a</w>"], vocab["an</w>"]}
        whole = {word + "</w>" for word in list_words()}
        letters = [t for t in vocab if t.removesuffix("</w>").isascii() and t.removesuffix("</w>").isalpha()]
        self.opening = [vocab[t] for t in letters if not t.endswith("</w>")]
        self.closing = [vocab[t] for t in letters if t.endswith("</w>") and t not in whole]
        self.spare = [vocab[word + "</w>"] for word in SPARE_WORDS if word not in DERIVED_STYLES]
        # An unknown style means one of the sets' own, as no style does.
        self.plain = {vocab[word + "</w>"] for word in BASE_STYLES}

    def invent_word(self, rng: random.Random) -> list[int]:
        """Tokens of a word that nobody has seen: up to five pieces."""
        return [*rng.choices(self.opening, k=rng.randint(0, 4)), rng.choice(self.closing)]

    def __call__(self, ids: np.ndarray, rng: random.Random) -> np.ndarray:
        """The ids as they are (about six times in ten), or changed; the same length, padded with the end token."""
        inner = ids[1 : 1 + int(np.argmax(ids[1:] == self.end))].tolist()
        parts = self.split(inner)
        for part in parts:
            if part[0] in self.articles and rng.random() < NAME:
                part[1:] = self.invent_word(rng)
            elif part[-1] == self.style and part[0] in self.plain and rng.random() < STYLE:
                part[:-1] = self.invent_word(rng)
        if rng.random() < EXTRA:
            extra = [rng.choice(self.spare) if rng.random() < 0.7 else None for _ in range(rng.randint(1, 2))]
            said = [token for word in extra for token in ([word] if word is not None else self.invent_word(rng))]
            parts.insert(rng.randint(min(1, len(parts)), len(parts)), said)
        if rng.random() < ORDER:
            rng.shuffle(parts)
        said = [self.start]
        for index, part in enumerate(parts):
            said += [*([self.comma] if index else []), *part]
        out = np.full(LENGTH, self.end, ids.dtype)
        out[: min(len(said), LENGTH - 1)] = said[: LENGTH - 1]
        return out

    def split(self, inner: list[int]) -> list[list[int]]:
        """The caption's parts, cut at its commas."""
        parts: list[list[int]] = [[]]
        for token in inner:
            if token == self.comma:
                parts.append([])
            else:
                parts[-1].append(token)
        return [part for part in parts if part]
