"""Prompts that are read once, however often they are drawn."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding
from lorakiln.families.protocol import Family


class PromptCache:
    """A family that encodes each prompt once, alone, so that its bits do not depend on what is drawn with it."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._known: dict[tuple[str, PromptEncoding], dict[str, Tensor]] = {}

    def forget(self) -> None:
        """The text encoder has changed."""
        self._known.clear()

    def encode_prompts(self, prompts: Sequence[str], encoding: PromptEncoding = PLAIN) -> dict[str, Tensor]:
        if new := [prompt for prompt in dict.fromkeys(prompts) if (prompt, encoding) not in self._known]:
            with self._family.present("text"):
                for prompt in new:
                    self._known[prompt, encoding] = self._family.encode_prompts([prompt], encoding)
        found = [self._known[prompt, encoding] for prompt in prompts]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)
