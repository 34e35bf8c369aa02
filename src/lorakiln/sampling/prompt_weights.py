"""Prompt weighting in A1111's syntax: (words:1.3), (words) is 1.1, [words] is 1 / 1.1, backslash escapes a bracket."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding
from lorakiln.families.protocol import Family

STEP = 1.1
_PIECE = re.compile(r"\\[()\[\]\\]|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()\[\]:]+|:|\\")


def parse_prompt(prompt: str) -> list[tuple[str, float]]:
    """The prompt's fragments in order, each with its weight; brackets nest and multiply, open ones end with the prompt.

    >>> parse("a (red:1.5) cat")
    [('a ', 1.0), ('red', 1.5), (' cat', 1.0)]
    """
    found: list[tuple[str, float]] = []
    round_starts: list[int] = []
    square_starts: list[int] = []

    def multiply(start: int, by: float) -> None:
        found[start:] = [(text, weight * by) for text, weight in found[start:]]

    for match in _PIECE.finditer(prompt):
        piece, weight = match[0], match[1]
        if piece == "(":
            round_starts.append(len(found))
        elif piece == "[":
            square_starts.append(len(found))
        elif weight is not None and round_starts:
            multiply(round_starts.pop(), _number(weight, prompt))
        elif piece == ")" and round_starts:
            multiply(round_starts.pop(), STEP)
        elif piece == "]" and square_starts:
            multiply(square_starts.pop(), 1 / STEP)
        else:
            found.append((piece[1:] if len(piece) > 1 and piece[0] == "\\" else piece, 1.0))
    for start in round_starts:
        multiply(start, STEP)
    for start in square_starts:
        multiply(start, 1 / STEP)
    return _joined(found)


def _number(text: str, prompt: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{text!r} is no weight", where=prompt, fix="write (words:1.3)") from error


def _joined(fragments: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    result: list[tuple[str, float]] = []
    for text, weight in fragments:
        if result and result[-1][1] == weight:
            result[-1] = result[-1][0] + text, weight
        else:
            result.append((text, weight))
    return result


def _spaced(fragments: Sequence[tuple[str, float]]) -> str:
    """One text of all fragments, each of which keeps the tokens that it has alone, as in A1111: "(cat:1.3)s" is "cat"
    and "s". CLIP's tokens never reach across a space, and a space is none of them."""
    return " ".join(text for text, _ in fragments)


class WeightedPrompts:
    """A family whose prompts may be weighted: e = e_empty + weight (e_prompt - e_empty), token by token.

    So ComfyUI does it. (A1111 multiplies the embeddings and then puts their mean back, which fails where that mean is
    near zero.) Prompts without brackets come out as they would without this, bit for bit.
    """

    def __init__(self, family: Family) -> None:
        self._family = family

    def encode_prompts(self, prompts: Sequence[str], encoding: PromptEncoding = PLAIN) -> dict[str, Tensor]:
        parsed = [parse_prompt(prompt) for prompt in prompts]
        told = self._family.encode_prompts([_spaced(one) for one in parsed], encoding)
        name = next(iter(told))
        embeds = told[name]
        weights = torch.stack([self._weights(one, embeds.shape[1]) for one in parsed]).to(embeds)[..., None]
        if bool((weights == 1).all()):
            return told
        empty = self._family.encode_prompts([""], encoding)[name]
        return {**told, name: torch.where(weights == 1, embeds, empty + weights * (embeds - empty))}

    def unread(self, prompt: str, chunks: int = 1) -> str:
        return self._family.unread(_spaced(parse_prompt(prompt)), chunks)

    def _weights(self, fragments: Sequence[tuple[str, float]], length: int) -> Tensor:
        """(length,), of the tokens of `_spaced`: 1 for the begin token and behind the prompt's end."""
        weights = torch.ones(length)
        at = 1
        for text, weight in fragments:
            count = self._family.count_tokens(text)
            weights[at : min(at + count, length - 1)] = weight
            at += count
        return weights

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)
