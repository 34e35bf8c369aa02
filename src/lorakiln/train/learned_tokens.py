"""New words whose vectors are trained (textual inversion, arXiv 2208.01618), alone or beside an adapter.

Nothing else of the text encoder's table moves: the words' rows are parameters of their own.
"""

from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor, nn

from lorakiln.adapters.adapter import Embedding
from lorakiln.adapters.networks import TOKENS
from lorakiln.console.errors import UserError
from lorakiln.families.learned_words import WordFinder, list_word_tables
from lorakiln.families.protocol import Family
from lorakiln.lora_files.embeddings import find_embeddings
from lorakiln.lora_files.reading import find_weights_file
from lorakiln.schema.tokens import TokenSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.validation_split import ValidationSplit


def count_captions(
    tokens: Mapping[str, TokenSettings], encoded: EncodedDataset, split: ValidationSplit
) -> dict[str, int]:
    """How many of the pictures that are trained on have each word in their caption."""
    counts = dict.fromkeys(tokens, 0)
    finder = WordFinder(tokens)
    for bucket, rows in zip(encoded.buckets, split.trained, strict=True):
        for row in rows:
            for word in set(finder.list_words(bucket.rows[row].text)):
                counts[word] += 1
    return counts


def check_tokens(tokens: Mapping[str, TokenSettings], encoded: EncodedDataset, split: ValidationSplit) -> None:
    """Refuse a word that nothing would be learned about.

    Raises:
        UserError: no caption holds it.
    """
    for word, count in count_captions(tokens, encoded, split).items():
        if not count:
            raise UserError(
                f"no caption that is trained on holds {word!r}, so that its vectors would learn nothing",
                where="train.tokens",
                fix=f"put it into the captions: caption.trigger='{word}' puts it in front of all",
            )


def read_initial_embeddings(settings: TrainSettings) -> dict[str, Embedding]:
    """Of the words that are to be trained those that the file to go on from has, in whatever case: a LoRA that brings
    them along, or a file of words alone. Of such a file the only word is the only one that is trained.

    Raises:
        UserError: the file holds words alone, or words alone are trained, and it has none of these.
    """
    tokens, init_from = settings.tokens, settings.adapter.init_from
    if not tokens or init_from is None:
        return {}
    there, alone = find_embeddings(find_weights_file(Path(init_from)))
    known = {word.lower(): one for word, one in there.items()}
    found = {word: known[word.lower()] for word in tokens if word.lower() in known}
    if alone and not found and len(there) == len(tokens) == 1:
        found = dict(zip(tokens, there.values(), strict=True))
    if not found and (alone or settings.parts == []):
        raise UserError(
            f"it holds {', '.join(there) or 'no words'}, and none of those that are trained: {', '.join(tokens)}",
            where=init_from,
            fix="call them alike, in train.tokens and in the captions; or set train.adapter.init_from=null",
        )
    return found


def insert_tokens(
    family: Family, tokens: Mapping[str, TokenSettings], seed: int, begun: Mapping[str, Embedding] | None = None
) -> None:
    """Let the family's text encoders know new words, whose vectors are to be trained.

    Args:
        family: with its text encoders, which know no words yet; without them where there are no tokens.
        seed: of vectors that are drawn; each word's and encoder's are drawn by themselves.
        begun: the vectors of words that are gone on with, whatever `init` says.

    Raises:
        UserError: `init`, or what is begun, has other tokens than the word is to have vectors.
    """
    if not tokens:
        return
    tables = {
        part: network.get_input_embeddings().weight.detach()  # type: ignore[operator]
        for part, network in family.adaptable().items()
        if part != family.part
    }
    known = {word: _start_from(one, word, tokens[word], family) for word, one in (begun or {}).items()}
    words = {
        word: known[word] if word in known else _begin(family, word, one, tables, seed) for word, one in tokens.items()
    }
    family.know_words(words)
    for table in list_word_tables(family.adaptable()).values():
        table.learned.requires_grad_(True)


def _start_from(one: Embedding, word: str, settings: TokenSettings, family: Family) -> Mapping[str, Tensor]:
    """The vectors of a file, by the text encoder."""
    counts = {len(rows) for rows in one.vectors.values()}
    if settings.vectors is not None and counts != {settings.vectors}:
        lengths = "/".join(map(str, sorted(counts)))
        raise UserError(
            f"the file to go on from has {lengths} vectors of {word}, and it is to have {settings.vectors}",
            where=f"train.tokens.{word}",
            fix=f"set vectors: {max(counts)}, or null",
        )
    return {part: rows.to(family.device) for part, rows in one.vectors.items()}


def _begin(
    family: Family, word: str, settings: TokenSettings, tables: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """The word's first vectors, by the text encoder."""
    if settings.init is None:
        return {part: _draw(table, settings.vectors or 1, f"{word} {part}", seed) for part, table in tables.items()}
    found = {}
    for part, tokens in family.tokenise([settings.init]).items():
        numbers = tokens.ids[0, 0, 1 : int(tokens.mask[0, 0].sum()) - 1]
        count = settings.vectors or len(numbers)
        if len(numbers) > count:
            raise UserError(
                f"{settings.init!r} has {len(numbers)} tokens, and {word} is to have {count} vectors",
                where=f"train.tokens.{word}",
                fix=f"set vectors: {len(numbers)}, or a shorter init",
            )
        places = torch.arange(count) % len(numbers)
        found[part] = tables[part][numbers[places].to(tables[part].device)].float()
    return found


def _draw(table: Tensor, count: int, name: str, seed: int) -> Tensor:
    """Vectors with the mean and the deviation of the table's, number by number."""
    generator = torch.Generator().manual_seed((seed + crc32(name.encode())) % 2**63)
    deviation, mean = torch.std_mean(table.float(), dim=0)
    return mean + deviation * torch.randn(count, table.shape[1], generator=generator).to(table.device)


class LearnedTokens:
    """The words among what is trained; there may be none, which is false.

    Attributes:
        counts: how many vectors each has.
    """

    def __init__(self, family: Family, settings: Mapping[str, TokenSettings]) -> None:
        self._settings = settings
        self.counts: dict[str, int] = {}
        self._limits: list[tuple[nn.Parameter, Tensor]] = []
        for table in list_word_tables(family.adaptable()).values() if settings else ():
            lengths = torch.linalg.vector_norm(table.weight.detach().float(), dim=1)
            for word, rows in zip(table.words, table.learned, strict=True):
                self.counts[word] = len(rows)
                if (most := settings[word].max_norm) is not None:
                    self._limits.append((rows, most * lengths.mean()))

    def __bool__(self) -> bool:
        return bool(self.counts)

    def rates(self) -> dict[str, float]:
        """The learning rates of words that have one of their own, by what their parameters' names begin with."""
        return {f"{TOKENS}.{word}": one.lr for word, one in self._settings.items() if one.lr is not None}

    @torch.no_grad()
    def clip_norms(self) -> None:
        """Shorten vectors that are longer than they may be, in place."""
        for rows, most in self._limits:
            lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
            rows.mul_((most / lengths.clamp_min(1e-12)).clamp(max=1.0))
