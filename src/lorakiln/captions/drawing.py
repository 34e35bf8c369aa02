"""A text of a picture, as kohya's sd-scripts draws it from a caption: one of its lines, wildcards, then tags.

A caption is one of some templates (the lines of a file, prefix and suffix included, which `caption` has put to each).
In this order: one template is drawn; each {a|b} becomes one of its parts; the tags that are not kept are cut to what
token warm-up shows, shuffled, and left out by chance; the secondary separator becomes the separator.
"""

import re
from collections.abc import Callable, Sequence

from lorakiln.captions.chance import Chance, FirstChance
from lorakiln.schema.caption_rules import CaptionRules

JOINED = ", "  # what is between tags in the end, whatever separated them
_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


def draw_text(templates: Sequence[str], rules: CaptionRules, chance: Chance, step: int = 0) -> str:
    """A text for a picture.

    Args:
        templates: one or more, each as often as the others.
        step: of the training, from 0 on, for token warm-up.
    """
    template = templates[chance.choose([1.0] * len(templates))] if len(templates) > 1 else templates[0]
    text = fill_wildcards(template, chance) if rules.wildcards else template

    def move(tags: list[str]) -> list[str]:
        return _move_tags(tags[: count_shown(len(tags), rules, step)], rules, chance)

    return _rewrite(text, rules, move)


def make_plain_text(template: str, rules: CaptionRules) -> str:
    """What a caption says where nothing is drawn: validation, samples and reports use it. The first part of every
    wildcard, and all tags in their order.
    """
    text = fill_wildcards(template, FirstChance()) if rules.wildcards else template
    return _rewrite(text, rules, lambda tags: tags)


def _rewrite(text: str, rules: CaptionRules, move: Callable[[list[str]], list[str]]) -> str:
    if rules.moves_tags or (rules.keep_separator and rules.keep_separator in text):
        kept, tags, behind = split_tags(text, rules)
        text = JOINED.join([*kept, *move(tags), *behind])
    return text.replace(rules.secondary_separator, rules.separator) if rules.secondary_separator else text


def fill_wildcards(template: str, chance: Chance) -> str:
    """Each {a|b} by one of its parts; {{ and }} are braces, and so is a brace that has no partner."""

    def fill(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        parts = match[1].split("|")
        return parts[chance.choose([1.0] * len(parts))]

    return _PARTS.sub(fill, template)


def holds_wildcard(template: str) -> bool:
    """Whether it has a {a|b}, of which `fill_wildcards` takes one."""
    return any("|" in (match[1] or "") for match in _PARTS.finditer(template))


def split_tags(text: str, rules: CaptionRules) -> tuple[list[str], list[str], list[str]]:
    """The tags that stay in front, those that move, and those that stay behind; empty ones are none."""

    def tags(part: str) -> list[str]:
        return [tag.strip() for tag in part.split(rules.separator) if tag.strip()]

    if rules.keep_separator and rules.keep_separator in text:
        front, _, rest = text.partition(rules.keep_separator)
        middle, _, behind = rest.partition(rules.keep_separator)
        return tags(front), tags(middle), tags(behind)
    every = tags(text)
    return every[: rules.keep_tags], every[rules.keep_tags :], []


def count_shown(tags: int, rules: CaptionRules, step: int) -> int:
    """How many of so many tags token warm-up shows at a step: from tag_warmup_least on to all of them, linearly."""
    if step >= rules.tag_warmup_steps or tags <= rules.tag_warmup_least:
        return tags
    more = tags - rules.tag_warmup_least
    return rules.tag_warmup_least + step * more // rules.tag_warmup_steps


def _move_tags(tags: list[str], rules: CaptionRules, chance: Chance) -> list[str]:
    if rules.shuffle:
        left, tags = list(tags), []
        while len(left) > 1:
            tags.append(left.pop(chance.choose([1.0] * len(left))))
        tags += left
    if rules.tag_dropout:
        rate = rules.tag_dropout
        tags = [tag for tag in tags if chance.choose([1 - rate, rate]) == 0]
    return tags
