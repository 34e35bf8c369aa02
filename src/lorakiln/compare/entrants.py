"""The files that are compared: what each is called, at which weight and with which trigger words it is drawn."""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorakiln.adapters.adapter import Adapter
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.protocol import NETWORK, TEXT
from lorakiln.lora_files.applying import read_applicable
from lorakiln.lora_files.identity import hash_lora
from lorakiln.lora_files.kohya_metadata import TRIGGER, is_zero_terminal_snr
from lorakiln.lora_files.merging import check_fits
from lorakiln.lora_files.reading import find_weights_file
from lorakiln.metrics import format_weight
from lorakiln.schema.model import ModelSettings

MOST = len(string.ascii_uppercase)  # more do not fit on a page either
# What programs call every file that they write: its folder's name says which it is.
NO_NAMES = ("adapter_model", "pytorch_lora_weights")


@dataclass(frozen=True)
class Named:
    """A file as somebody names it.

    Attributes:
        trigger: the words that it is drawn with; None: those that it tells itself, or else those of the settings.
    """

    file: Path
    weight: float = 1.0
    trigger: str | None = None


@dataclass(frozen=True, order=True)
class Entrant:
    """A file that is compared, at a weight.

    Attributes:
        place: from 0, as they were given.
        file: the weights file, which may be alone in the folder that was named.
        name: of the file, for people; several may have one.
        hash: its content's.
        rank: the largest of its layers'; None where none has one.
        zero_terminal_snr: whether it is to be drawn by a noise schedule that ends without signal.
    """

    place: int
    file: Path
    name: str
    weight: float
    trigger: str
    hash: str
    rank: int | None
    zero_terminal_snr: bool

    @property
    def letter(self) -> str:
        return string.ascii_uppercase[self.place]

    @property
    def adapter(self) -> str:
        """What its shots call it."""
        return self.letter

    @property
    def title(self) -> str:
        """Its name, with the weight where it is not 1."""
        return self.name if self.weight == 1 else f"{self.name} at {format_weight(self.weight)}"


def read_entrants(given: Sequence[Named], model: ModelSettings, trigger: str) -> list[Entrant]:
    """What is compared, once it is clear that each file is for this base, before anything is drawn.

    Args:
        trigger: the words of files that tell none.

    Raises:
        UserError: there are too few or too many, one is no LoRA or embedding, is for another base, is given twice, or
            its noise schedule is not the others'.
    """
    if not 2 <= len(given) <= MOST:
        raise UserError(f"2 to {MOST} files are compared, not {len(given)}", fix="name them, each as FILE or FILE:0.8")
    if twice := [one for one, count in Counter(given).items() if count > 1]:
        raise UserError("is given twice", where=twice[0].file, fix="give each once, or with other weights: FILE:0.8")
    networks = load_family(model, ()).hollow((*TEXT, *NETWORK)).adaptable()
    found = []
    for place, one in enumerate(given):
        if not one.weight:
            raise UserError("weight 0 is the base, which is drawn anyway", where=one.file, fix="give another weight")
        file = find_weights_file(one.file)
        adapter = read_applicable(file)
        check_fits(networks, adapter, one.file)
        try:
            if adapter.embeddings:
                texts = load_family(model, TEXT)
                texts.know_words({word: one.vectors for word, one in adapter.embeddings.items()})
        except UserError as error:
            raise UserError(error.what, where=one.file, fix=error.fix) from error
        found.append(_make_entrant(place, one, file, adapter, trigger))
    _check_schedules(found)
    return found


def _make_entrant(place: int, given: Named, file: Path, adapter: Adapter, trigger: str) -> Entrant:
    words = adapter.metadata.get(TRIGGER, trigger) if given.trigger is None else given.trigger
    ranks = [layer.rank for layer in adapter.changes.values() if layer.rank is not None]
    name = file.absolute().parent.name if file.stem in NO_NAMES else file.stem
    return Entrant(
        place,
        file,
        name,
        given.weight,
        words,
        hash_lora(file),
        max(ranks, default=None),
        is_zero_terminal_snr(adapter.metadata),
    )


def _check_schedules(entrants: Sequence[Entrant]) -> None:
    """All are compared with the base's pictures, and these are drawn by one noise schedule."""
    first = entrants[0]
    for one in entrants[1:]:
        if one.zero_terminal_snr != first.zero_terminal_snr:
            ended, other = (one, first) if one.zero_terminal_snr else (first, one)
            raise UserError(
                f"it was trained with a noise schedule that ends without signal, and {other.file} was not: the base "
                "draws other pictures by each",
                where=ended.file,
                fix="compare files of one noise schedule",
            )
