"""What the stages' facts hold, by name and type: dataset.json, index.json, and facts.json of a run and of a LoRA.

A stage writes what it makes true, and the stages after it read it here and nowhere else. What a file of an earlier
version does not say is None; what this version does not know is kept as it is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from lorakiln.artefacts.json_files import Damaged, read_json, write_json
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import Settings, Validator, check

Namespace = TypeVar("Namespace", bound=Settings)
# What is left out of files that others get, so that the rest can be read.
WITHHELD: Mapping[str, Mapping[str, Any]] = {
    "prepare": {"dataset": "withheld"},
    "train": {"tracker": {"kind": "none"}},
}
CHOICE = "choice.json"
FIX = (
    "run the stage that made it again: `dvc repro`; where it names a kind that is not known here, install the package "
    "that adds it"
)


class Facts(BaseModel):
    """A file of facts, or a part of one."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The facts that a file holds.

        Raises:
            Missing: it is not there (also a FileNotFoundError).
            Damaged: it does not hold these facts.
        """
        return cls.of(read_json(path), path)

    @classmethod
    def of(cls, data: Mapping[str, Any], path: Path) -> Self:
        """The same, of what was read from `path`."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            missing = problem["type"] == "missing"
            what = f"nothing about {where!r} in it" if missing else f"{where}: {problem['msg'].lower()}"
            raise Damaged(path, what) from error

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: what was given, and nothing that was not."""
        return self.model_dump(mode="json", exclude_unset=True)

    def write(self, path: Path) -> None:
        """Write them, whole or not at all."""
        write_json(path, self.to_dict())

    def changed(self, **changes: Any) -> Self:
        """The same with other values."""
        return self.model_copy(update=changes)


class MadeWith(Facts):
    """Facts of something that settings have made.

    Attributes:
        settings: of the stages so far, by stage, JSON, as they were recorded.
    """

    settings: dict[str, Any]

    def made_with(self, stage: str, kind: type[Namespace]) -> Namespace:
        """The settings of a stage, typed.

        Raises:
            UserError: they are not recorded, or those of another version.
        """
        try:
            return check(
                cast(Validator[Namespace], kind), {**WITHHELD.get(stage, {}), **self.settings.get(stage, {})}, stage
            )
        except ConfigError as error:
            what = f"the settings that are recorded are not of this version: {error.what}"
            raise UserError(what, where="settings", fix=FIX) from error


class BaseFacts(Facts):
    """A base model; see `families.protocol.Family.facts`.

    Attributes:
        name: what it is called in files that others get; export gives it.
    """

    family: str
    path: str
    revision: str = ""
    hash: str
    prediction_type: str
    version: str
    name: str | None = None


class DatasetFacts(Facts):
    """The pictures.

    Attributes:
        out_of_domain: in words, that the base does not know such pictures.
    """

    name: str
    hash: str
    pictures: int
    trigger: str = ""
    out_of_domain: str | None = None


class Dataset(DatasetFacts, MadeWith):
    """dataset.json of a prepared or captioned folder.

    Attributes:
        buckets: pictures by bucket, "64x48".
        quarantined: files that were left out.
        excluded: pictures that a hand edit leaves out, below the dataset's folder.
        captioner: where it comes from, as the settings have it.
        settings: of the stages so far, by stage, JSON.
    """

    buckets: dict[str, int] | None = None
    quarantined: int = 0
    excluded: list[str] = []
    captioner: dict[str, Any] | None = None
    settings: dict[str, Any]


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


class Checked(Facts):
    """How the written files were read back."""

    layers: int
    clients: list[str]
    largest_relative_difference: float


class Measured(Facts):
    """A mean with its 95% interval, where there is one."""

    mean: float
    low: float | None = None
    high: float | None = None


class MeasuredCandidate(Facts):
    """A saved step at a weight, as `choose` measured it.

    Attributes:
        prompts, pictures: that were drawn with it; of the weaker ones fewer.
        worth: the product of the five after it, each 0 to 1.
        learned, detail, followed, agreement, whole: see `choose.candidates.Parts`.
        copies: the share of its pictures that are nearer to a training picture than any two of these to each other.
        moved: how far they are from the base's of the same prompt and seed; 1: as far as another seed; None: not known.
        diversity: how unlike its pictures of one prompt are from seed to seed; 1: as the base's; None: not known.
        state: "good", "underfitted", "overfitted", "memorised" or "broken".
    """

    step: int
    weight: float
    prompts: int
    pictures: int
    worth: Measured
    learned: float
    detail: float
    followed: float
    agreement: float
    whole: float
    copies: float
    moved: float | None = None
    diversity: Measured | None = None
    state: str


class Recommended(Facts):
    """What to use: a step and a weight.

    Attributes:
        low, high: the weights of this step that are worth as much as can be told.
        picture: one that was drawn with it, relative to the choice's folder.
    """

    step: int
    weight: float
    low: float
    high: float
    picture: str

    def at_strength(self, strength: float) -> "Recommended":
        """The same of a file that does only so much of what was trained at weight 1 (`export.strength`)."""
        weights = {name: round(getattr(self, name) / strength, 4) for name in ("weight", "low", "high")}
        return self.changed(**weights)


class Choice(Facts):
    """choice.json: which of a run's saved steps to use, and at which weight; or why that cannot be told.

    Attributes:
        can_tell: whether the measures can: enough prompts were drawn, and CLIP knows such pictures.
        headline: two sentences for a beginner.
        rivals: what cannot be told apart from it, or comes next.
        advice: what to change next time, each with the measure that says so.
        candidates: all that were drawn, by step and weight; none where nothing was to choose.
        base: what the base's own pictures are like: `followed`, `agreement`, `copies`.
    """

    recommended: Recommended | None = None
    can_tell: bool = True
    headline: str = ""
    rivals: list[str] = []
    advice: list[str] = []
    candidates: list[MeasuredCandidate] = []
    base: dict[str, float] = {}


def read_choice(folder: Path) -> Choice:
    """What `choose` wrote into its folder; of a file from elsewhere there is none, and nothing is recommended."""
    file = folder / CHOICE
    return Choice.read(file) if file.exists() else Choice()


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
