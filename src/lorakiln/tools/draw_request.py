"""One picture that is asked for, and what a grid's axes change of it."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lorakiln.artefacts.tensor_files import read_metadata
from lorakiln.console.errors import UserError
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding
from lorakiln.tools.weighted_file import parse_weighted

# A training's checkpoints are LoRA files: the two names mean one thing.
AXES = ("prompt", "seed", "weight", "steps", "guidance", "lora", "checkpoint", "strength")
SEEDS = 2**32  # torch's generator on the CPU takes no more of a seed's bits
LONGEST = 8192  # pixels of a side


@dataclass(frozen=True)
class DrawRequest:
    """One picture.

    Attributes:
        loras: files by weight; `weight` multiplies them all. A file that is there twice acts twice.
        image: to begin with, image to image; `strength` is how much is drawn anew.

    Raises:
        UserError: a number is out of its range.
    """

    prompt: str
    seed: int = 0
    steps: int = 20
    guidance: float = 5.0
    weight: float = 1.0
    loras: tuple[tuple[Path, float], ...] = ()
    negative: str = ""
    size: tuple[int, int] | None = None
    image: Path | None = None
    strength: float = 0.6
    encoding: PromptEncoding = PLAIN
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        right = {
            "steps": (self.steps >= 1, "at least 1"),
            "guidance": (math.isfinite(self.guidance) and self.guidance >= 0, "a finite number, 0 or more"),
            "weight": (math.isfinite(self.weight), "a finite number"),
            "strength": (0 < self.strength <= 1, "in (0, 1]"),
        }
        for name, (fits, wanted) in right.items():
            if not fits:
                raise UserError(f"{getattr(self, name):g} is not {wanted}", where=name)

    @property
    def weights(self) -> dict[Path, float]:
        """How strongly each file acts in all."""
        sums: dict[Path, float] = {}
        for path, weight in self.loras:
            sums[path] = sums.get(path, 0.0) + self.weight * weight
        return sums


def apply_axis(request: DrawRequest, name: str, text: str) -> DrawRequest:
    """`request` with one thing changed, as a grid's axis does; "lora" and "checkpoint" put FILE[:WEIGHT] in the place
    of all its LoRAs.

    Raises:
        UserError: no such axis, or no such value.
    """
    if name not in AXES:
        raise UserError(f"{name!r} is no axis", fix=f"known: {', '.join(AXES)}")
    if name == "strength" and request.image is None:
        raise UserError("there is no picture to draw anew", where="strength", fix="name one with --image")
    labels = {**request.labels, name: text}
    if name in ("lora", "checkpoint"):
        return replace(request, loras=(parse_weighted(text),), labels=labels)
    if name == "seed":
        return replace(request, seed=parse_seed(text), labels=labels)
    kind = {"prompt": str, "steps": int}.get(name, float)
    try:
        value = kind(text)
    except ValueError as error:
        raise UserError(f"{text!r} is no {name}", fix=f"write {name}=1,2,3") from error
    return replace(request, **{name: value}, labels=labels)


def format_label(axis: str, text: str) -> str:
    """A value in a grid's margin: of a file its name is enough."""
    if axis in ("lora", "checkpoint"):
        path, weight = parse_weighted(text)
        return path.stem if weight == 1 else f"{path.stem}:{weight:g}"
    return text if axis == "prompt" else f"{axis} {text}"


def parse_seed(text: str) -> int:
    """A seed as people write it; UserError if it is none."""
    if not re.fullmatch("[0-9]+", text.strip()):
        raise UserError(f"{text!r} is no seed", where="--seeds", fix="write 0,1,2")
    # Very long numbers take Python quadratic time, and it refuses them with another error.
    if len(text.strip()) > 20 or int(text) >= SEEDS:
        raise UserError(f"{text.strip()[:30]} is no seed", where="--seeds", fix=f"{SEEDS - 1} is the largest")
    return int(text)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """ "768x512" -> width and height in pixels; UserError if it is no such thing."""
    if text is None:
        return None
    match = re.fullmatch("0*([0-9]{1,9})x0*([0-9]{1,9})", text)
    if not match:
        raise UserError(f"{text!r} is no size", where="--size", fix="write it like 768x512")
    width, height = int(match[1]), int(match[2])
    if not (0 < width <= LONGEST and 0 < height <= LONGEST):
        raise UserError(f"{text} is no size of a picture", where="--size", fix=f"sides are 1 to {LONGEST} pixels long")
    return width, height


def choose_clip_skip(given: int | None, loras: Sequence[tuple[Path, float]]) -> int:
    """Which layer of the text encoders is read: what is given; else what the first of the files that were trained here
    was trained with, which is said; else 1, the last.

    Other programs' files tell a number too, which means nothing for some of their bases.
    """
    if given is not None:
        return given
    for path, _ in loras:
        try:
            told = read_metadata(path)
        except UserError:  # what is wrong with it is said where its weights are read
            continue
        if "lorakiln_version" in told and (skip := told.get("ss_clip_skip", "")).isdecimal() and int(skip) > 1:
            print(f"clip skip {skip}, as {path.name} was trained with; --clip-skip 1 reads the last layer", flush=True)
            return int(skip)
    return 1
