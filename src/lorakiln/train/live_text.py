"""Texts that are read while training goes on: where a text encoder is trained, or what is read is drawn anew each step.

Everywhere else training takes the embeddings that `encode` has made ahead.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from lorakiln.families.autocast import leave_autocast
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding, Tokens
from lorakiln.families.protocol import Family
from lorakiln.schema.encode import EncodeSettings
from lorakiln.train.batch_schedule import GlobalBatch
from lorakiln.train.encoded_dataset import Bucket

KEPT = 2**16  # texts whose tokens are kept: a few hundred bytes each
EMBEDDED = 2**10  # texts whose embeddings are kept on a CPU: up to a megabyte each
EMBEDDED_THERE = 2**6  # and on a GPU, beside all else that it holds


class CaptionDraws(Protocol):
    """What is read beside each picture of a step."""

    def texts(self, step: int, samples: GlobalBatch, part: slice) -> list[str]:
        """The texts of the global batch's pictures in `part`, from (seed, step) alone; "" where none is to be read.

        Of what these are, caption dropout (`train.objective.caption_dropout`) replaces some by "".
        """
        ...


class TextReader(Protocol):
    """Gives what texts come to: `LiveText`, or what was read ahead of all that may be drawn.

    Attributes:
        trained: whether it is another thing from step to step, for validation too.
    """

    @property
    def trained(self) -> bool: ...

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The texts' conditioning, as `Family.encode_prompts` gives it, each value with first dimension B."""
        ...


class OwnCaptions:
    """Each row's own text.

    Args:
        buckets: of the dataset.
        trained: of every bucket the numbers of the rows that are trained on, as the schedule counts them.
    """

    def __init__(self, buckets: Sequence[Bucket], trained: Sequence[Tensor]) -> None:
        self._texts = [[one.text for one in bucket.rows] for bucket in buckets]
        self._trained = trained

    def texts(self, step: int, samples: GlobalBatch, part: slice) -> list[str]:
        rows = self._trained[samples.bucket][samples.pictures[part]].tolist()
        return [self._texts[samples.bucket][row] for row in rows]


class LiveText:
    """Reads texts with a family's text encoders as they are now, in the way in which the dataset was encoded.

    Args:
        family: with its text encoders.
        encoding: which layer is read, and how much of a text.
        trained: whether anything in the encoders is trained; else what is read once is kept, and is to the bit what
            `encode` makes on such a device.
        batch_size: how many texts are read at once where nothing is trained, as `encode.batch_size`: bits depend on it.
        dtype: that the embeddings have where nothing is trained, as `encode.dtype`.
    """

    def __init__(
        self,
        family: Family,
        encoding: PromptEncoding = PLAIN,
        *,
        trained: bool = False,
        batch_size: int = 8,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.family, self.encoding, self.trained = family, encoding, trained
        self._batch_size, self._dtype = batch_size, dtype
        self._known: dict[str, dict[str, Tensor]] = {}
        # They stay on the device, for a step that brought them to the host would wait for the one before it.
        self._most = EMBEDDED if family.device.type == "cpu" else EMBEDDED_THERE
        self._tokenise = lru_cache(KEPT)(lambda text: self.family.tokenise([text], self.encoding))

    @classmethod
    def of(cls, family: Family, encode: EncodeSettings, trained: bool) -> "LiveText":
        """Of a dataset that was encoded with these settings."""
        return cls(
            family,
            PromptEncoding.of(encode),
            trained=trained,
            batch_size=encode.batch_size,
            dtype=getattr(torch, encode.dtype),
        )

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The texts' conditioning, as `Family.encode_prompts` gives it, each value with first dimension B, on the
        family's device; with gradients, under the caller's autocast, where something is trained.
        """
        if self.trained:
            return self.family.encode_tokens(self.tokenise(texts), self.encoding)
        self._read([text for text in dict.fromkeys(texts) if text not in self._known])
        rows = [self._known[text] for text in texts]
        found = {name: torch.stack([one[name] for one in rows]) for name in rows[0]}
        if len(self._known) > self._most:
            self._known.clear()
        return found

    def tokenise(self, texts: Sequence[str]) -> dict[str, Tokens]:
        """The texts' tokens by encoder; each text's are made once."""
        rows = [self._tokenise(text) for text in texts]
        return {part: Tokens.join_rows([one[part] for one in rows]) for part in rows[0]}

    def _read(self, texts: Sequence[str]) -> None:
        """Keep what these texts come to: in batches of one size, the last filled up, as `encode` does."""
        for at in range(0, len(texts), self._batch_size):
            some = list(texts[at : at + self._batch_size])
            batch = some + some[-1:] * (self._batch_size - len(some))
            # As where they are alone: encoders that only read compute in what they were loaded in.
            with leave_autocast(self.family.device.type):
                made = self.family.encode_prompts(batch, self.encoding)
            for row, text in enumerate(some):
                self._known[text] = {name: value[row].to(self._dtype, copy=True) for name, value in made.items()}
