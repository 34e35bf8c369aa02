"""What drawn pictures are measured by: a module a kind of metric, found by looking (`METRICS`), and what each has.

A metric is in metrics.json, the report's tables and charts, the plots and the tracker, and a sweep can look for it,
because its module is here; nobody else names it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from lorakiln.metrics._shots import Prompt, Shot, format_weight
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.registry import Registry

__all__ = [
    "Alter",
    "Caveat",
    "Finding",
    "LIKENESS",
    "METRICS",
    "MetricInputs",
    "Metric",
    "MetricKind",
    "OBEDIENCE",
    "Prompt",
    "Scored",
    "Shot",
    "examine",
    "list_metrics",
    "list_rules",
    "list_in_report_order",
    "name_likeness_model",
    "format_weight",
]

Role = Literal["learned", "prompt", "other"]
Alter = Callable[[Image.Image], Image.Image]
# What boards and tables of runs call the two metrics that pull against each other.
LIKENESS, OBEDIENCE = "likeness", "obedience"
LAST = 60  # the place of a metric that does not care where it stands


def name_likeness_model(settings: EvaluateSettings | None) -> str:
    """The model whose cosines tell likeness, as people call it."""
    return "CLIP" if settings is None or settings.likeness is None else Path(settings.likeness.path).name


@dataclass(frozen=True)
class MetricInputs:
    """What a metric may look at.

    Attributes:
        shots: the N drawn pictures: with and without their trigger words, at every weight.
        embeddings: (N, D) what CLIP makes of them, unit vectors.
        references: (M, D) what CLIP makes of the training pictures, unit vectors.
        embed_texts: texts -> (T, D) unit vectors in the same space.
        files: of the drawn pictures, N.
        trained: files of the training pictures, M.
        held_out: which of these M were kept out of the training, for validation.
        looks: (N, E) and (M, E) unit vectors of the drawn and of the training pictures by the model that tells likeness
            (`evaluate.likeness`), whose patches are `embed_parts`'; None: CLIP's.
        embed_pictures: files, and what is done to each RGB picture before CLIP looks at it -> unit vectors.
        embed_parts: files -> (N, P, D) unit vectors of each picture's P patches.
    """

    shots: Sequence[Shot]
    embeddings: np.ndarray
    references: np.ndarray
    embed_texts: Callable[[Sequence[str]], np.ndarray]
    files: Sequence[Path]
    trained: Sequence[Path]
    embed_pictures: Callable[[Sequence[Path], Alter], np.ndarray]
    embed_parts: Callable[[Sequence[Path]], np.ndarray]
    held_out: frozenset[int] = frozenset()
    looks: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def drawn_looks(self) -> np.ndarray:
        """(N, E) by which likeness is measured."""
        return self.embeddings if self.looks is None else self.looks[0]

    @property
    def trained_looks(self) -> np.ndarray:
        """(M, E) the same of the training pictures."""
        return self.references if self.looks is None else self.looks[1]

    def select_trained_looks(self, held_out: bool) -> np.ndarray:
        """(m, E) of the training pictures that were held out, or of those that were trained on."""
        looks = self.trained_looks
        return looks[[row for row in range(len(looks)) if (row in self.held_out) == held_out]]


@dataclass(frozen=True)
class Scored:
    """A drawn picture with its scores.

    Attributes:
        embedding: (D,) CLIP's unit embedding.
        values: score by metric; None where the metric does not apply to the prompt.
    """

    shot: Shot
    embedding: np.ndarray
    values: dict[str, float | None]


@dataclass(frozen=True)
class Metric:
    """One number of a picture, or of all pictures of a prompt at one weight.

    A subclass measures pictures (`of_pictures`, whose mean a prompt then has), or prompts (`of_prompt`).

    Attributes:
        name: in metrics.json, samples/metadata.jsonl and the plots, and for a sweep that looks for it.
        title, meaning: in the report's table.
        role: how it counts for the verdict: that the training pictures were learned, that the prompt is followed, or
            not at all.
        fraction: a picture is right or wrong, 1 or 0: shown in percent, with Wilson's interval, and 100% is as far as
            it goes.
        better: which way is.
        digits: that are shown of its values, behind the point.
        board: what boards and tables of runs call it; "": they have it only if it is a fraction that counts for the
            verdict.
        place: in tables, the smaller the sooner.
    """

    name: str
    title: str
    meaning: str
    role: Role
    fraction: bool = False
    better: Literal["more", "less"] = "more"
    digits: int = 3
    board: str = ""
    place: int = LAST

    @property
    def is_answer(self) -> bool:
        """Whether it is the share of right answers to a question of `evaluate.classify`, or counts as one does."""
        return self.fraction and self.role != "other"

    def of_pictures(self, inputs: MetricInputs) -> Sequence[float | None] | None:
        """Its value of each of the N drawn pictures, None where it does not apply; None if it is of prompts."""
        return None

    def of_prompt(self, pictures: Sequence[Scored]) -> float | None:
        """Its value of one prompt's pictures at one weight: the mean of those that have one; None if it has none."""
        known = [value for item in pictures if (value := item.values.get(self.name)) is not None]
        return float(np.mean(known)) if known else None

    def of_training_pictures(self, inputs: MetricInputs) -> float | None:
        """What the training pictures themselves have, which a LoRA's pictures can at best reach; None: not known."""
        return None


@dataclass(frozen=True)
class Caveat:
    """Why pictures that a verdict would praise are not praised.

    Attributes:
        words: what follows "The LoRA moves towards the training pictures, but".
        proven: something speaks against the pictures; else it is only not known.
    """

    words: str
    proven: bool


class Finding(Protocol):
    """What a kind has found out about the pictures as a whole, at the weight that the report compares."""

    @property
    def caveat(self) -> Caveat | None:
        """None if nothing speaks against a verdict."""

    def as_dict(self) -> dict[str, float]:
        """For metrics.json, under the kind's name, which no metric has; rounded to 6 digits."""


class MetricKind(Protocol):
    """A module `metrics/<kind>.py`: it has `list_metrics`, or `examine` and RULE, or all of these."""

    def list_metrics(self, settings: EvaluateSettings | None) -> Sequence[Metric]:
        """The metrics that these settings ask for; None: all that do not depend on what is asked."""

    def examine(self, inputs: MetricInputs, scored: Sequence[Scored], weight: float) -> Finding:
        """What the verdict asks for beside the numbers, about the pictures at `weight`."""

    RULE: str  # what `examine` demands, in the report's words: whole sentences


METRICS: Registry[Any] = Registry("metric", code="lorakiln.metrics")


def list_metrics(settings: EvaluateSettings | None) -> list[Metric]:
    """All metrics that the settings ask for, by their kinds' names; None: all that do not depend on what is asked."""
    kinds = [METRICS.find(name) for name in METRICS.names]
    return [metric for kind in kinds if hasattr(kind, "list_metrics") for metric in kind.list_metrics(settings)]


def list_in_report_order(metrics: Sequence[Metric]) -> list[Metric]:
    """As they stand in tables."""
    return sorted(metrics, key=lambda metric: metric.place)


def examine(inputs: MetricInputs, scored: Sequence[Scored], weight: float) -> dict[str, Finding]:
    """What all kinds that examine have found, by their names."""
    return {name: kind.examine(inputs, scored, weight) for name, kind in _examining().items()}


def list_rules() -> list[str]:
    """What is demanded of the pictures as a whole."""
    return [kind.RULE for kind in _examining().values()]


def _examining() -> Mapping[str, Any]:
    kinds = {name: METRICS.find(name) for name in METRICS.names}
    return {name: kind for name, kind in kinds.items() if hasattr(kind, "examine")}
