"""facts.json of a finished run."""

from lorakiln.facts.base_model import BaseFacts
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.facts.file import Facts, MadeWith


class SavedAdapter(Facts):
    """One of a run's adapters.

    Attributes:
        file: relative to the run.
        average: the same of the weights' moving average, where there is one.
    """

    step: int
    file: str
    average: str | None = None
    validation_loss: float | None = None


class BegunWith(Facts):
    """The LoRA file that a training went on from: what it is called, and its content's identity."""

    file: str
    hash: str


class EncoderFacts(Facts):
    """A text encoder that was trained.

    Attributes:
        modules: adapted ones.
        stop: after how many steps it stayed as it was; None: it was trained to the end.
    """

    rank: int
    modules: int
    lr: float
    stop: int | None = None


class RunFacts(MadeWith):
    """facts.json of a finished run.

    Attributes:
        step: how many there were.
        max_steps: how many there were to be; more, where the training was stopped early.
        epoch_steps: how many an epoch has, which may end within one.
        parameters: trained numbers.
        targets: full names of the network's adapted modules; none where text encoders alone were trained.
        encoders: text encoders that were trained, by their parts' names.
        precision: of the frozen base, "fp32", "bf16" or "fp16".
        held_out: how many pictures were kept for validation.
        held_out_files: their names in the captioned dataset.
        timesteps: the first that was trained on, the one after the last, how many the model has.
        zero_terminal_snr: whether the noise schedule ends without signal, which drawing must know.
        tokens: new words that were trained, and how many vectors each has.
        libraries: version by name.
        convolutions: whether any larger than 1x1 are adapted; export finds it.
        strength: what export multiplies every change by.
        averaged: whether export takes the moving averages of the weights.
        base_model: the hub's id of the base, if it has one; export gives it.
    """

    step: int
    max_steps: int | None = None
    epoch_steps: float | None = None
    rank: int
    alpha: float
    parameters: int | None = None
    targets: list[str]
    encoders: dict[str, EncoderFacts] = {}
    precision: str | None = None
    base: BaseFacts
    dataset: DatasetFacts
    trigger: str
    held_out: int
    held_out_files: list[str] = []
    timesteps: tuple[int, int, int] | None = None
    zero_terminal_snr: bool = False
    init_from: BegunWith | None = None
    tokens: dict[str, int] | None = None
    libraries: dict[str, str] | None = None
    adapters: list[SavedAdapter]
    convolutions: bool = False
    strength: float = 1.0
    averaged: bool = False
    base_model: str | None = None
