"""Captions in other words: made-up names, unknown styles, extra words, another order.

A base that has only ever read its own captions ignores all of a caption that holds one unknown word. People name
their characters with words that no base knows, so the rest of such a caption must still count.
"""

from __future__ import annotations

import random

import numpy as np

from recipes.tiny.labels import BASE_STYLES, REDRAWN_STYLES, SPARE_WORDS
from recipes.tiny.tokens import LENGTH, START, words

NAME, STYLE, EXTRA, ORDER = 0.15, 0.05, 0.20, 0.05  # shares of captions; a caption may get several changes


class Rewording:
    """Changes token ids (32,) of captions in the form of labels.caption."""

    def __init__(self, tokenizer) -> None:
        vocab = tokenizer.get_vocab()
        self.start, self.end, self.comma = vocab[START], tokenizer.eos_token_id, vocab[",</w>"]
        self.style = vocab["style</w>"]
        self.articles = {vocab["a</w>"], vocab["an</w>"]}
        whole = {word + "</w>" for word in words()}
        letters = [t for t in vocab if t.removesuffix("</w>").isascii() and t.removesuffix("</w>").isalpha()]
        self.opening = [vocab[t] for t in letters if not t.endswith("</w>")]
        self.closing = [vocab[t] for t in letters if t.endswith("</w>") and t not in whole]
        self.spare = [vocab[word + "</w>"] for word in SPARE_WORDS if word not in REDRAWN_STYLES]
        # An unknown style means one of the sets' own, as no style does.
        self.plain = {vocab[word + "</w>"] for word in BASE_STYLES}

    def made_up(self, rng: random.Random) -> list[int]:
        """Tokens of a word that nobody has seen: up to five pieces."""
        return [*rng.choices(self.opening, k=rng.randint(0, 4)), rng.choice(self.closing)]

    def __call__(self, ids: np.ndarray, rng: random.Random) -> np.ndarray:
        """The ids as they are (about six times in ten), or changed; the same length, padded with the end token."""
        inner = ids[1 : 1 + int(np.argmax(ids[1:] == self.end))].tolist()
        parts = self.split(inner)
        for part in parts:
            if part[0] in self.articles and rng.random() < NAME:
                part[1:] = self.made_up(rng)
            elif part[-1] == self.style and part[0] in self.plain and rng.random() < STYLE:
                part[:-1] = self.made_up(rng)
        if rng.random() < EXTRA:
            extra = [rng.choice(self.spare) if rng.random() < 0.7 else None for _ in range(rng.randint(1, 2))]
            said = [token for word in extra for token in ([word] if word is not None else self.made_up(rng))]
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
