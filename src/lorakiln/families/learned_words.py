"""Words with vectors of their own, which a text encoder reads in the place of tokens (textual inversion).

A word's tokens have numbers below 0, -1 the first: whatever an encoder makes of the numbers themselves (CLIP finds a
text's end as the largest of them, in configs of its early days) stays what it was, and its table is not grown.
Source: arXiv 2208.01618; several vectors a word, as A1111 has them.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorakiln.console.errors import UserError

Words = Mapping[str, Mapping[str, Tensor]]  # of a word, by the text encoder's part, its vectors (n, width)


class WordEmbedding(nn.Module):
    """A text encoder's table of tokens with further rows.

    Args:
        own: the encoder's, which stays as it is.
        words: of each its rows, (n, width); the first's have the numbers -1, -2, ...

    Attributes:
        words: in order; `learned`: their rows, float32.
    """

    def __init__(self, own: nn.Module, words: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.own, self.words = own, tuple(words)
        rows = [nn.Parameter(vectors, requires_grad=False) for vectors in words.values()]
        self.learned = nn.ParameterList(rows)

    def forward(self, numbers: Tensor) -> Tensor:
        """(..., width) of (...) numbers; where none is below 0, what `own` gives, bit for bit."""
        told: Tensor = self.own(numbers.clamp(min=0))
        rows = F.embedding((-1 - numbers).clamp(min=0), torch.cat(tuple(self.learned))).to(told.dtype)
        return torch.where((numbers < 0)[..., None], rows, told)

    @property
    def weight(self) -> Tensor:
        """The encoder's own table, for those who ask an embedding for its dtype or device."""
        weight = self.own.weight
        assert isinstance(weight, Tensor)  # a module's attribute may be a module
        return weight


def list_word_tables(networks: Mapping[str, nn.Module]) -> dict[str, WordEmbedding]:
    """The tables that know words, by the part that reads them."""
    return {
        part: module
        for part, network in networks.items()
        for module in network.modules()
        if isinstance(module, WordEmbedding)
    }


class WordTokenizer:
    """A tokenizer that finds words in texts, in any case, and not within other words; the rest is its own.

    Args:
        own: the tokenizer, which stays as it is.
        counts: how many tokens each word has.
    """

    def __init__(self, own: Any, counts: Mapping[str, int]) -> None:
        self.own, self._words = own, WordFinder(counts)
        self._numbers: dict[str, range] = {}
        self._names: dict[int, str] = {}
        for word, count in counts.items():
            first = -1 - len(self._names)
            self._numbers[word] = range(first, first - count, -1)
            # As diffusers calls them.
            self._names |= {first - index: f"{word}_{index}" if index else word for index in range(count)}

    def list_tokens(self, text: str) -> list[int]:
        """The numbers of a text's tokens, without begin and end."""
        numbers: list[int] = []
        for piece, word in self._words.split(text):
            if word is not None:
                numbers += self._numbers[word]
            elif piece.strip():
                numbers += self.own(piece, truncation=False, add_special_tokens=False, verbose=False).input_ids
        return numbers

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of tokens."""
        pieces: list[str] = []
        others: list[int] = []
        for number in numbers:
            if number >= 0:
                others.append(number)
                continue
            pieces += [self.own.decode(others).strip(), self._names[number]]
            others = []
        return " ".join(piece for piece in (*pieces, self.own.decode(others).strip()) if piece)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


class WordFinder:
    """Finds words in texts: in any case, as CLIP reads, whole, and the longest first."""

    def __init__(self, words: Collection[str]) -> None:
        self._longest = sorted(words, key=len, reverse=True)
        self._pattern = re.compile("|".join(f"({_whole(word)})" for word in self._longest) or "(?!)", re.IGNORECASE)

    def split(self, text: str) -> Iterator[tuple[str, str | None]]:
        """The text in pieces, each with the word that it is, or None."""
        at = 0
        for match in self._pattern.finditer(text):
            yield text[at : match.start()], None
            assert match.lastindex is not None  # the pattern is one group or another
            yield match[0], self._longest[match.lastindex - 1]
            at = match.end()
        yield text[at:], None

    def list_words(self, text: str) -> list[str]:
        """The words that a text holds, in its order, as often as it holds them."""
        return [word for _, word in self.split(text) if word is not None]


def _whole(word: str) -> str:
    # Of a word in brackets the brackets are its ends, whatever stands beside them.
    before, after = (r"(?<!\w)" if re.match(r"\w", word[0]) else ""), (r"(?!\w)" if re.match(r"\w", word[-1]) else "")
    return f"{before}{re.escape(word)}{after}"


def check_words(words: Words, widths: Mapping[str, int], most: int) -> None:
    """Refuse vectors that a base's text encoders cannot read.

    Args:
        widths: of a token's embedding, by the encoder's part.
        most: how many tokens an encoder reads at once, without its begin and end.

    Raises:
        UserError: a word is empty or twice there, or its vectors are for other encoders, of another width, or too many.
    """
    fix = "use an embedding that was made for this base model"
    seen: dict[str, str] = {}
    for word, vectors in words.items():
        if not word.strip():
            raise UserError("an embedding's word is empty", fix="give it a word")
        if word.lower() in seen:
            what = f"{seen[word.lower()]!r} and {word!r} are one word to the text encoder"
            raise UserError(what, fix="give one of them another word")
        seen[word.lower()] = word
        if set(vectors) != set(widths):
            what = f"the embedding of {word} is for {' and '.join(sorted(vectors))}, and the base model has"
            raise UserError(f"{what} {' and '.join(sorted(widths)) or 'no text encoder that learns words'}", fix=fix)
        for part, rows in vectors.items():
            if rows.shape[1] != widths[part]:
                what = f"the embedding of {word} is {rows.shape[1]} wide, and {part} reads {widths[part]}"
                raise UserError(what, fix=fix)
            if len(rows) > most:
                raise UserError(
                    f"the embedding of {word} has {len(rows)} vectors, and {most} are read at most", fix=fix
                )


def put_words(encoder: Any, tokenizer: Any, part: str, words: Words) -> Any:
    """Let an encoder (of transformers) know these words and no others, and return the tokenizer that goes with it.

    Args:
        tokenizer: the encoder's, with words or without.
        words: none: both are what they were, without a trace.
    """
    table, plain = encoder.get_input_embeddings(), tokenizer
    if isinstance(table, WordEmbedding):
        table, plain = table.own, tokenizer.own
    if not words:
        encoder.set_input_embeddings(table)
        return plain
    rows = {word: vectors[part].to(table.weight.device, torch.float32, copy=True) for word, vectors in words.items()}
    encoder.set_input_embeddings(WordEmbedding(table, rows))
    return WordTokenizer(plain, {word: len(vectors[part]) for word, vectors in words.items()})
