"""facts.json beside a LoRA file."""

from lorakiln.facts.base_model import BaseFacts
from lorakiln.facts.choice import Recommended
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.facts.file import Facts, MadeWith
from lorakiln.facts.run import BegunWith, EncoderFacts


class Checked(Facts):
    """How the written files were read back."""

    layers: int
    clients: list[str]
    largest_relative_difference: float


class LoraFacts(MadeWith):
    """facts.json beside a LoRA file: what `export` wrote, or what is known of a file from elsewhere, where `step` and
    the facts of a training are None.

    Attributes:
        file: the LoRA's, in the same folder; `files`: all weights files there.
        hash: SHA-256 of `file`.
        zero_terminal_snr: as of a run.
        tokens: as of a run; `embeddings`: the files of these words, in the same folder.
        recommended: what `choose` says of its step; None where it chose another, or nothing.
    """

    name: str
    file: str
    files: list[str] = []
    hash: str
    step: int | None
    max_steps: int | None = None
    rank: int | None
    alpha: float | None
    trigger: str | None
    base: BaseFacts
    dataset: DatasetFacts
    strength: float = 1.0
    averaged: bool = False
    targets: list[str] | None = None
    encoders: dict[str, EncoderFacts] = {}
    base_model: str | None = None
    held_out: int = 0
    validation_loss: float | None = None
    timesteps: tuple[int, int, int] | None = None
    zero_terminal_snr: bool = False
    init_from: BegunWith | None = None
    tokens: dict[str, int] | None = None
    embeddings: list[str] | None = None
    checked: Checked | None = None
    recommended: Recommended | None = None
