"""How a text encoder reads a prompt: in chunks of its own length, as kohya's max_token_length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from lorakiln.families.learned_words import WordTokenizer
from lorakiln.families.upload import upload
from lorakiln.schema.encode import EncodeSettings

CHUNK = 75  # tokens of a prompt that CLIP reads at once, without those of its begin and end


@dataclass(frozen=True)
class PromptEncoding:
    """How prompts become embeddings; an adapter is drawn with what it was trained with.

    Attributes:
        clip_skip: which of the text encoder's layers is read, from the end, as A1111 counts: 1 is the one that the base
            was made for (the last, or the last but one: its family knows), 2 the one before it.
        chunks: how many times the encoder's length of a prompt is read; what is longer is cut off.
    """

    clip_skip: int = 1
    chunks: int = 1

    @classmethod
    def of(cls, encode: EncodeSettings) -> "PromptEncoding":
        """The reading that `encode`'s settings ask for."""
        return cls(encode.clip_skip, encode.max_tokens // CHUNK)


PLAIN = PromptEncoding()


@dataclass(frozen=True)
class Tokens:
    """Prompts as one text encoder reads them.

    Attributes:
        ids: (B, chunks, L) int64: in each chunk begin, up to L - 2 tokens, end, padding.
        mask: of the same shape: 1 up to the end's token, which is the padding's too in Stable Diffusion 1.x.
        end, padding: the numbers of these tokens.
    """

    ids: Tensor
    mask: Tensor
    end: int
    padding: int

    @classmethod
    def of(cls, tokenizer: CLIPTokenizer, prompts: Sequence[str], length: int, chunks: int) -> Self:
        """What a tokenizer makes of prompts."""
        ids, mask = split_chunks(tokenizer, prompts, length, chunks)
        return cls(ids, mask, tokenizer.eos_token_id, tokenizer.pad_token_id)

    @classmethod
    def blank(cls, count: int, length: int, chunks: int, device: torch.device) -> Self:
        """Of that many prompts the shapes alone."""
        ids = torch.zeros(count, chunks, length, dtype=torch.int64, device=device)
        return cls(ids, torch.ones_like(ids), 0, 0)

    @classmethod
    def join_rows(cls, some: Sequence[Self]) -> Self:
        """All of some prompts', which one tokenizer has made."""
        ids, mask = torch.cat([one.ids for one in some]), torch.cat([one.mask for one in some])
        return cls(ids, mask, some[0].end, some[0].padding)

    def join(self, states: Tensor) -> Tensor:
        """One sequence of each prompt's chunks, (B, chunks * (L - 2) + 2, D).

        Args:
            states: (B * chunks, L, D), as the encoder gives them.
        """
        return join_chunks(states.unflatten(0, self.ids.shape[:2]), self.ids, self.end, self.padding)


def split_chunks(tokenizer: CLIPTokenizer, prompts: Sequence[str], length: int, chunks: int) -> tuple[Tensor, Tensor]:
    """Token numbers and mask, both (B, chunks, length): in each chunk begin, up to length - 2 tokens, end, padding.

    One chunk is what the tokenizer itself makes with padding="max_length" and truncation. The mask is 1 up to the
    end's token, which is the padding's too in Stable Diffusion 1.x.
    """
    room = length - 2
    ids = torch.full((len(prompts), chunks, length), tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        tokens = list_tokens(tokenizer, prompt)
        for number in range(chunks):
            some = tokens[number * room : (number + 1) * room]
            whole = [tokenizer.bos_token_id, *some, tokenizer.eos_token_id]
            ids[row, number, : len(whole)] = torch.tensor(whole)
            mask[row, number, : len(whole)] = 1
    return ids, mask


def join_chunks(states: Tensor, ids: Tensor, end: int, padding: int) -> Tensor:
    """One sequence, (B, chunks * (L - 2) + 2, D), of the chunks' states, (B, chunks, L, D).

    As kohya does it: the first chunk's begin, every chunk's inner states, the last chunk's end. In an empty chunk
    whose padding is not the end's token, the state of the end is replaced by that of the padding behind it.
    """
    inner = states[:, :, 1:-1]
    if padding != end:
        # The tokenizer's numbers are on the CPU, the states on the encoder's device.
        empty = upload(ids[:, :, 1] == end, states.device)
        empty[:, 0] = False
        first = torch.where(empty[..., None], inner[:, :, 1], inner[:, :, 0])
        inner = torch.cat([first[:, :, None], inner[:, :, 1:]], dim=2)
    return torch.cat([states[:, 0, :1], inner.flatten(1, 2), states[:, -1, -1:]], dim=1)


def list_tokens(tokenizer: CLIPTokenizer | WordTokenizer, prompt: str) -> list[int]:
    """All of a prompt's tokens, without begin and end."""
    if isinstance(tokenizer, WordTokenizer):
        return tokenizer.list_tokens(prompt)
    tokens: list[int] = tokenizer(prompt, truncation=False, add_special_tokens=False, verbose=False).input_ids
    return tokens
