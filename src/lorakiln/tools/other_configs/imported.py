"""What a config of another program comes to here, and what of it does not."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lorakiln.schema.other_trainers.option import Option
from lorakiln.schema.strict_yaml import dump_yaml

TRAIN_NAME = "python -m train +experiment=NAME"
INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
WORDS = {"true": True, "false": False, "none": None, "null": None, "": None}
OFF: tuple[Any, ...] = (None, False, "", [], {}, ())


@dataclass
class Imported:
    """An experiment in the making.

    Attributes:
        choices: members of config groups: {"model": "sd15", "/train/optimizer": "lion"}.
        settings: by dotted path.
        decided: what was not said there and had to be, each a sentence.
        left: what has no counterpart: option, value, why.
    """

    choices: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    decided: list[str] = field(default_factory=list)
    left: list[tuple[str, Any, str]] = field(default_factory=list)

    @property
    def names_pictures(self) -> bool:
        """Whether it says which dataset is trained on."""
        prepare = self.settings.get("prepare")
        return bool(self.settings.get("prepare.dataset") or (isinstance(prepare, dict) and prepare.get("dataset")))

    def take(self, name: str, value: Any, option: Option) -> None:
        """An option by its line in the tables: a flag, or a value that means the same here."""
        if not option.ours:
            if read_value(value) != 0:  # as much of it as if it were not named
                self.leave(name, value, option.remark)
            return
        setting, _, fixed = option.ours[0].partition("=")
        if fixed == "NAME":  # which of them its value means, nobody has said
            self.leave(name, value, option.remark)
        elif not fixed:
            self.settings[setting] = read_value(value)
        elif "/" in setting or "." not in setting:
            self.choices[setting] = fixed
        else:
            self.settings[setting] = read_value(fixed)

    def train_encoders(self, rate: Any = None, denoiser: bool = True) -> None:
        """Train the base's text encoders too.

        Args:
            rate: their learning rate, or one for each, of which one with 0 is not trained; None: that of all.
            denoiser: whether the network that draws is trained as well.
        """
        encoders = ["text_encoder", "text_encoder_2"][: 2 if self.choices.get("model") == "sdxl" else 1]
        # A command's "1e-5 2e-5", a window's "1e-5, 2e-5", and a file's metadata have "[1e-05, 2e-05]".
        words = re.split(r"[\s,]+", rate.strip(" []")) if isinstance(rate, str) else rate
        words = words if isinstance(words, list) else [words]
        rates = [None if is_off(one) else float(one) for one in words] or [None]
        by_part = dict(zip(encoders, [*rates, rates[0]], strict=False))
        # What does not move is not trained.
        moving = {part: one for part, one in by_part.items() if one != 0}
        if not moving and not denoiser:
            moving = by_part
        self.settings["train.parts"] = ["unet"] * denoiser + list(moving)
        first = next(iter(moving.values()), None)
        if first is not None:
            self.settings["train.text_encoders.lr"] = first
        for part, one in moving.items():
            if one is not None and one != first:
                self.settings["train.text_encoders.own"] = {part: {"lr": one}}

    def leave(self, name: str, value: Any, why: str) -> None:
        self.left.append((name, value, why))

    def format_experiment(self, header: Iterable[str]) -> str:
        """The file: conf/experiment/NAME.yaml."""
        lines = ["# @package _global_", *(f"# {line}".rstrip() for line in header)]
        parts: list[dict[str, Any]] = []
        if self.choices:
            parts.append({"defaults": [{f"override /{group}": name} for group, name in sorted(self.choices.items())]})
        parts.append(_nest(self.settings))
        texts = [dump_yaml(part, width=100) for part in parts]
        return "\n".join(lines) + "\n" + "\n".join(texts)


def read_value(value: Any) -> Any:
    """A value of a command line, of metadata or of a config: numbers and words that stand in a text are these."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def is_off(value: Any) -> bool:
    """Whether an option with this value says nothing: absent, false, empty."""
    return any(value is off or (value == off and type(value) is type(off)) for off in OFF) or (
        isinstance(value, str) and value.strip().lower() in ("none", "false", "")
    )


def index_options(sections: Mapping[str, tuple[Option, ...]]) -> dict[str, Option]:
    """The lines of a program's tables by the name of each option, without its dashes."""
    return {
        name.removeprefix("--"): option for options in sections.values() for option in options for name in option.theirs
    }


def name_experiment(text: str, unnamed: str = "imported") -> str:
    """A name that is a file's, a folder's and a word on Hydra's command line.

    Args:
        unnamed: the name where the text has nothing that may stand in one, as of Chinese.
    """
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower() or unnamed
    # Hydra takes these for a number, or for no text at all.
    return f"named_{name}" if not name[0].isalpha() or name in ("true", "false", "null", "nan", "inf") else name


def _nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        *above, last = path.split(".")
        at = tree
        for name in above:
            at = at.setdefault(name, {})
        at[last] = value
    order = ["model", "prepare", "caption", "encode", "train", "choose", "export", "evaluate"]
    return {name: tree[name] for name in [*order, *tree] if name in tree}
