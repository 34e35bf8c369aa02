"""Doing to a caption what `caption.rules` says, one rule after the other."""

import re
from collections.abc import Callable, Iterable, Sequence

from lorakiln.captions.drawing import JOINED
from lorakiln.captions.tags import spell_tag
from lorakiln.schema.caption_steps import CaptionRule

COMMA = ","


def apply_rules(text: str, rules: Sequence[CaptionRule], placing: dict[str, Callable[[str], str]]) -> str:
    """The caption that becomes of a text, white space as single spaces.

    Args:
        placing: what puts the prefix, the suffix and the trigger words to a text, by what a rule calls them; those that
            no rule names come last, in this order.
    """
    named = {rule.do for rule in rules}
    for rule in rules:
        text = placing[rule.do](text) if rule.do in placing else _apply(text, rule)
    for name, place in placing.items():
        text = text if name in named else place(text)
    return text


def _apply(text: str, rule: CaptionRule) -> str:
    if rule.pattern is not None:
        found = re.sub(rule.pattern, rule.by, text, flags=re.IGNORECASE)
        # What was between commas may be gone.
        return " ".join(found.split()) if all(_split(found)) else _join(_split(found))
    if rule.do == "shorten" and rule.unit == "words":
        words = text.split()
        return text if len(words) <= (rule.most or 0) else " ".join(words[: rule.most]).rstrip(" ,")
    tags = _split(text)
    if rule.do == "shorten":
        kept = tags[: rule.most]
    elif rule.do == "deduplicate":
        first: dict[str, str] = {}
        for tag in tags:
            first.setdefault(_recognise(tag), tag)
        kept = list(first.values())
    else:
        wanted = {_recognise(tag) for tag in rule.tags}
        kept = [rule.by if _recognise(tag) in wanted else tag for tag in tags]
    # What no rule changes stays as it was written, to its spaces.
    return text if kept == tags else _join(kept)


def _recognise(tag: str) -> str:
    """Equal for a tag in either spelling and any case."""
    return spell_tag(tag).casefold()


def _split(text: str) -> list[str]:
    return [" ".join(tag.split()) for tag in text.split(COMMA)]


def _join(tags: Iterable[str]) -> str:
    return JOINED.join(tag for tag in tags if tag.strip())
