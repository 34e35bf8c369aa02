"""Captions, as the text encoders embed them; see `console.memory.Batch.fill` about the bits."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Family


def encode_captions(
    family: Family,
    texts: Sequence[str],
    encoding: PromptEncoding,
    at_once: Batch,
    dtype: torch.dtype,
    done: Callable[[int], object] = lambda count: None,
) -> Iterator[dict[str, Tensor]]:
    """The conditioning of every text in turn, without the batch's dimension.

    Args:
        done: told how many each batch has given, before they are handed out.

    Raises:
        UserError: a text's conditioning is not finite in `dtype`.
    """
    while texts:
        batch, count = at_once.fill(texts)

        def encode(batch: Sequence[str] = batch) -> dict[str, Tensor]:
            conditioning = family.encode_prompts(batch, encoding)
            return {name: value.to("cpu", dtype) for name, value in conditioning.items()}

        if conditioning := at_once.attempt(encode):
            check_conditioning(batch, conditioning)
            done(count)
            for i in range(count):
                yield {name: value[i] for name, value in conditioning.items()}
            texts = texts[count:]


def check_conditioning(texts: Sequence[str], conditioning: Mapping[str, Tensor]) -> None:
    """Raise UserError that names the first text whose conditioning, (B, ...), is NaN or infinite."""
    finite = torch.stack([value.isfinite().flatten(1).all(dim=1) for value in conditioning.values()]).all(dim=0)
    if broken := [text for text, good in zip(texts, finite.tolist(), strict=True) if not good]:
        raise UserError(
            f"the text encoder makes NaN or infinite numbers of {broken[0]!r}",
            where="model.path",
            fix="encode.device=cpu, where it computes in single precision, with encode.dtype=float32; if it does this "
            "even so, the model is damaged",
        )
