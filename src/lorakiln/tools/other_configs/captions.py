"""What other programs' options of captions come to, where one alone does not say it."""

import math
from collections.abc import Mapping
from typing import Any

from lorakiln.tools.other_configs.imported import Imported, is_off, read_value

RULES = "encode.captions."
MOVING = ("shuffle", "tag_dropout", "tag_warmup_steps")
# What says how something is done, with what it comes to where that is not said.
HOW = {"keep_tags": (0, MOVING), "tag_warmup_least": (1, ("tag_warmup_steps",))}


def take_wildcards(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """sd-scripts' enable_wildcard is about lines too."""
    imported.settings |= {f"{RULES}wildcards": True, "caption.lines": True}


def take_warmup(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """Steps; or, below 1, a fraction of them."""
    steps = read_value(value)
    if 0 < steps < 1:
        total = imported.settings.get("train.steps")
        if total is None:
            fix = f"a number of steps: {RULES}tag_warmup_steps"
            imported.leave("token_warmup_step", value, f"a fraction of a length in epochs; set {fix}")
            return
        steps = math.floor(steps * total)
        imported.decided.append(f"{RULES}tag_warmup_steps is {steps}, the fraction {value} of {total}")
    imported.settings[f"{RULES}tag_warmup_steps"] = int(steps)


def take_class_tokens(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """The words of pictures that have no caption: nobody else writes one."""
    imported.settings["caption.class_tokens"] = str(value)
    imported.choices["caption"] = "none"


def settle_captions(imported: Imported) -> None:
    """Take out what would be refused because what it is for is not asked."""
    settings = imported.settings
    for name, (usual, needs) in HOW.items():
        value = settings.get(f"{RULES}{name}", usual)
        if value != usual and not any(settings.get(f"{RULES}{need}") for need in needs):
            del settings[f"{RULES}{name}"]
            words = " or ".join([", ".join(needs[:-1]), needs[-1]] if len(needs) > 1 else needs)
            imported.decided.append(f"{RULES}{name} is not set, {value} there: it means nothing without {words}")


def take_onetrainer_text(imported: Imported, text: Mapping[str, Any]) -> None:
    """The part "text" of one of OneTrainer's concepts."""
    rules: dict[str, Any] = {}
    if text.get("enable_tag_shuffling"):
        rules["shuffle"] = True
    if text.get("tag_dropout_enable"):
        if str(text.get("tag_dropout_mode", "FULL")) == "RANDOM":
            rules["tag_dropout"] = float(text.get("tag_dropout_probability") or 0)
        else:
            imported.leave("concepts.text.tag_dropout_mode", text.get("tag_dropout_mode"), "each tag is left out alone")
    if rules:
        rules["keep_tags"] = int(text.get("keep_tags_count", 1))
        rules["separator"] = str(text.get("tag_delimiter") or ",").strip() or ","
    imported.settings |= {f"{RULES}{name}": value for name, value in rules.items()}
    if str(text.get("prompt_source", "sample")) == "sample":  # a file beside each picture, of a caption a line
        imported.settings["caption.lines"] = True
        imported.decided.append("caption.lines is true: a caption file with several lines has a caption in each there")
    known = {"prompt_source", "prompt_path", "enable_tag_shuffling", "tag_delimiter", "keep_tags_count"}
    for name, value in text.items():
        quiet = name.startswith("tag_dropout") or (name.startswith("caps_") and not text.get("caps_randomize_enable"))
        if name not in known and not quiet and not is_off(value):
            imported.leave(f"concepts.text.{name}", value, "no counterpart here")


def take_ai_toolkit_captions(imported: Imported, dataset: Mapping[str, Any]) -> set[str]:
    """The options of captions of one of ai-toolkit's datasets; their names."""
    known = {"shuffle_tokens": "shuffle", "token_dropout_rate": "tag_dropout", "keep_tokens": "keep_tags"}
    for name, ours in known.items():
        if not is_off(dataset.get(name)):
            imported.settings[f"{RULES}{ours}"] = dataset[name]
    if words := dataset.get("default_caption"):
        take_class_tokens(imported, words, {})
    return {*known, "default_caption"}
