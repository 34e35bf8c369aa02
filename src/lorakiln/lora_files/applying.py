"""What LoRA files and embeddings change of a base model that draws: its weights, and the words that it knows."""

from collections.abc import Mapping
from pathlib import Path

from lorakiln.adapters.adapter import Adapter, Embedding
from lorakiln.artefacts.tensor_files import read_metadata
from lorakiln.families.protocol import Family
from lorakiln.lora_files.embeddings import is_embedding, join_embeddings, read_embeddings
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import find_weights_file, read_any


class AppliedAdapters:
    """A family with adapters, and with the words that they bring along.

    Args:
        embeddings: words that are known at all weights.

    Raises:
        UserError: an adapter or an embedding is for another base, or two of them mean other things by one word.
    """

    def __init__(self, family: Family, *adapters: Adapter, embeddings: Mapping[str, Embedding] | None = None) -> None:
        self._family, self._adapters, self._embeddings = family, adapters, embeddings or {}
        self._merged = Merged(family.adaptable(), *adapters)
        self._known: dict[str, Embedding] = {}
        self._know(*(adapter.embeddings for adapter in adapters))

    def set_weights(self, *weights: float) -> None:
        """Apply the adapters, in their order, at `weights`; all 0 gives the base, bit for bit.

        A word is known as it is wherever its adapter's weight is not 0, as in A1111.
        """
        self._merged.set_weights(*weights)
        self._know(*(one.embeddings for weight, one in zip(weights, self._adapters, strict=True) if weight))

    def _know(self, *brought: Mapping[str, Embedding]) -> None:
        fix = "use one of them at a time, or `lorakiln convert FILE OUT --without-embeddings`"
        wanted = join_embeddings((self._embeddings, *brought), fix)
        if wanted or self._known:
            self._family.know_words({word: one.vectors for word, one in wanted.items()})
        self._known = wanted


def read_applicable(path: Path) -> Adapter:
    """What a file changes of a base: a LoRA's layers and words; of an embedding's own file (textual inversion) words.

    Raises:
        UserError: it is neither, or of another base's kind; see `read_any` and `read_embeddings`.
    """
    path = find_weights_file(path)
    if is_embedding(path):
        return Adapter({}, read_metadata(path), embeddings=read_embeddings(path))
    return read_any(path).adapter
