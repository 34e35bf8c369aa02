"""What to train a folder of pictures with: a recipe of conf/experiment, its numbers for as many as there are.

docs/recipes.md says what the numbers rest on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorakiln.console.counts import format_count
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.strict_yaml import dump_yaml, read_yaml
from lorakiln.schema.train import ValidationSettings
from lorakiln.tools.subjects import SUBJECTS, Subject
from lorakiln.train.validation_split import count_held_out

MEGAPIXEL = 1024  # pixels a side: from there on a picture at a time, with activations made again
SMALL = 256  # pixels a side: below, the network is a thousandth of a real one
RECIPES = {
    "character": "sd15_character_r16",
    "style": "sd15_style_r4",
    "pose": "sd15_pose",
    "concept": "sd15_concept_dreambooth",
}
# How many pictures the recipes' steps are for, and how few make a concept of what nobody has named.
PICTURES, CONCEPT = 25, {"concept": 5}
FEW = 8
LEAST_SEEN = 20  # times: of so many pictures that each would be seen less often the steps are more
RANK_REASONS = {
    "character": "a face and clothes need more than a style; more would learn backgrounds too",
    "style": "a style changes a little of everything; a small rank has no room for the pictures themselves",
    "pose": "a pose is less than a character, and faces shall not fit in",
    "concept": "that of diffusers' example for a thing from few pictures (DreamBooth)",
}


@dataclass(frozen=True)
class PicturesFacts:
    """What is known of a dataset before anything of it is opened.

    Attributes:
        name: of the dataset, below data/raw.
        pictures: how many there are, those for regularisation left out.
        captioned: how many of them have captions.
        class_tokens: what the source says of all of them, "sks dog"; "" if it says nothing or several things.
        common: the words that all captions have in front, or as a tag; "" if there are none.
        linked: whether the files are links that lead out.
    """

    name: str
    pictures: int
    captioned: int = 0
    class_tokens: str = ""
    common: str = ""
    linked: bool = False


@dataclass(frozen=True)
class Proposal:
    """An experiment, and why it is as it is.

    Attributes:
        reasons: of each thing that was chosen, (what, value, why).
        settings: the experiment, defaults included, as YAML has it.
    """

    kind: Subject
    recipe: str
    reasons: list[tuple[str, str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> list[str]:
        """The reasons as lines, in columns."""
        return [f"{what:<9} {value}: {why}" for what, value, why in self.reasons]

    def format_experiment(self, command: str) -> str:
        """The file: conf/experiment/NAME.yaml.

        Args:
            command: that trains it.
        """
        lines = [
            "# @package _global_",
            f"# A {self.kind} by {self.recipe}, with numbers for these pictures (docs/recipes.md).",
            f"#   {command}",
            "# Why these numbers:",
            *(f"#   {line}" for line in self.describe()),
        ]
        return "\n".join(lines) + "\n" + dump_yaml(self.settings, width=100)


def propose(
    facts: PicturesFacts,
    base: str,
    model: ModelSettings,
    conf: Path,
    kind: Subject | None = None,
    trigger: str | None = None,
) -> Proposal:
    """An experiment for these pictures.

    Args:
        base: what the model is called: a name of conf/model, or else `model`'s settings are written down.
        conf: the project's settings, with experiment/ and model/.
        kind: what is to be learned; None: a thing from few pictures, else a character.
        trigger: the words for it; None: what the dataset says, else a rare word and the dataset's name.

    Raises:
        UserError: the recipe is not there, or no YAML.
    """
    reasons: list[tuple[str, str, str]] = []
    if kind is None:
        kind, why = _guess_kind(facts)
        reasons.append(("kind", kind, why))
    recipe = RECIPES[kind]
    own = recipe.replace(
        RECIPES["concept"].partition("_")[0], model.family, 1
    )  # of the base's own family, if there is one
    recipe = own if (conf / "experiment" / f"{own}.yaml").is_file() else recipe
    settings = read_yaml(conf / "experiment" / f"{recipe}.yaml")
    words, why = (trigger, "as you say") if trigger is not None else _guess_trigger(facts, kind)
    reasons.append(("trigger", words, why))
    train = settings["train"]
    reasons += _adjust(train, facts.pictures, kind, model.resolution)
    captioner, why = _choose_captioner(facts, kind)
    reasons.append(("captions", captioner, why))
    named = (conf / "model" / f"{base}.yaml").is_file()
    made: dict[str, Any] = {
        "defaults": _choose(settings["defaults"], base if named else None, captioner),
        **({} if named else {"model": model.model_dump(mode="json")}),
        "prepare": {"dataset": facts.name, **({"follow_symlinks": True} if facts.linked else {})},
        "caption": {"trigger": words},
        **{name: value for name, value in settings.items() if name not in ("defaults", "model", "prepare", "caption")},
    }
    return Proposal(kind, recipe, reasons, made)


def _guess_kind(facts: PicturesFacts) -> tuple[Subject, str]:
    if facts.pictures <= FEW and not facts.captioned:
        return (
            "concept",
            f"{format_count(facts.pictures, 'picture')} without captions: too few for more; --kind says otherwise",
        )
    return "character", f"what most people train; --kind {', '.join(one for one in SUBJECTS if one != 'character')}"


def _guess_trigger(facts: PicturesFacts, kind: Subject) -> tuple[str, str]:
    """The words, and where they come from."""
    more = '--trigger "WORDS" says otherwise'
    if facts.class_tokens:
        return facts.class_tokens, f"what its folder is called; {more}"
    if facts.common:
        return facts.common, f"what all captions have in common; {more}"
    # "dog6" and "my_dog_02" number the sets: the class is what the base knows a word for. "k9" and "r2d2" do not.
    numbered = facts.name.rpartition("/")[2].replace("_", " ").replace("-", " ").split()
    words = [re.sub(r"(?<=[^\W\d]{3})\d+$", "", word) for word in numbered if not word.isdigit()]
    subject = kind if kind in ("style", "pose") else words[-1].lower() if words else kind
    prefix = "a photo of " if kind == "concept" and not facts.captioned else ""
    return f"{prefix}sks {subject}", f"a rare word, and what it is a kind of: make that right; {more}"


def _choose_captioner(facts: PicturesFacts, kind: Subject) -> tuple[str, str]:
    left = facts.pictures - facts.captioned
    if not left:
        return "none", "all pictures have captions of their own"
    if kind == "concept":
        return "none", "the trigger words are the caption of each, as DreamBooth has it"
    return "blip", f"{left} of {facts.pictures} pictures have none; a file beside a picture wins"


def _choose(defaults: Sequence[Any], base: str | None, captioner: str) -> list[Any]:
    """A recipe's choices with this base, if it has a name, and this captioner."""
    kept = [one for one in defaults if not {"override /model", "override /caption"} & set(one)]
    first = [{"override /model": base}] if base else []
    return [*first, {"override /caption": captioner}, *kept]


def _adjust(train: dict[str, Any], pictures: int, kind: Subject, resolution: int) -> list[tuple[str, str, str]]:
    """Change a recipe's settings of the training for so many pictures of this size; the reasons."""
    validation = ValidationSettings(**train.get("validation", {}))
    trained = pictures - count_held_out(pictures, validation)
    steps, why = _count_steps(train["steps"] * train["batch_size"], train["batch_size"], trained, kind, validation)
    rank, rank_why = train["adapter"]["rank"], RANK_REASONS[kind]
    if kind == "character" and pictures <= FEW:
        rank, rank_why = rank // 2, f"half of what more pictures get: {pictures} would be learned by heart"
    rate, rate_why = float(train["optimizer"]["lr"]), "diffusers' and kohya's examples of LoRAs with AdamW"
    if resolution < SMALL:
        rate, rate_why = 10 * rate, "a network this small takes ten times a real one's"
        train["adapter"]["targets"] = "locon"
        train["trainer"] = {**train.get("trainer", {}), "threads": 1}
    elif resolution >= MEGAPIXEL and train["batch_size"] > 1:
        train["micro_batch"] = 1
        train["trainer"] = {**train.get("trainer", {}), "gradient_checkpointing": True}
    train["steps"], train["adapter"]["rank"], train["optimizer"]["lr"] = steps, rank, rate
    every = max(1, _round(steps / 5 if kind == "concept" else steps / 6))
    train["save_every"] = every
    train["samples"] = {**train.get("samples", {}), "every": every}
    if validation.every:
        train["validation"] = {**train.get("validation", {}), "every": every}
    if "scheduler" in train:
        train["scheduler"]["warmup_steps"] = min(train["scheduler"]["warmup_steps"], steps // 10)
    held_out = f" ({pictures - trained} more held out to measure the loss)" if pictures > trained else ""
    seen = (
        f"{format_count(trained, 'picture')}{held_out}, each seen "
        f"{steps * train['batch_size'] / trained:.0f} times, {why}"
    )
    return [
        ("rank", str(rank), rank_why),
        ("rate", f"{rate:g}", rate_why),
        ("steps", f"{steps:,}, each of a batch of {train['batch_size']}", seen),
    ]


def _count_steps(
    shown: int, batch: int, trained: int, kind: Subject, validation: ValidationSettings
) -> tuple[int, str]:
    """The steps for so many pictures, and why.

    Args:
        shown: pictures that the recipe shows in all, of as many as it is for.
    """
    usual = CONCEPT.get(kind, PICTURES)
    usual -= count_held_out(usual, validation)
    if trained < usual:
        steps, why = shown * trained / usual / batch, "as with more of them; fewer pictures take fewer steps"
    elif trained * LEAST_SEEN > shown:
        steps, why = (
            trained * LEAST_SEEN / batch,
            "for which it takes more steps than the recipe has",
        )
    else:
        steps, why = shown / batch, f"which are the recipe's {format_count(shown, 'picture', ',')} shown"
    return _round(steps), why


def _round(steps: float) -> int:
    """To what is easily read: multiples of 50 from 200 on, of 10 from 20 on."""
    to = 50 if steps >= 200 else 10 if steps >= 20 else 1
    return max(1, round(steps / to) * to)
