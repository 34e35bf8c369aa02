"""All texts that can be drawn from a caption, and how often each comes: exactly, where they are few."""

from collections.abc import Sequence

from lorakiln.captions.chance import Walk
from lorakiln.captions.drawing import draw_text
from lorakiln.schema.caption_rules import CaptionRules

Distribution = dict[str, float]  # probabilities by text, in the order in which the walk finds them
WAYS = 100  # for each text that is asked for: a caption of equal tags has few texts and many ways to them


def find_distribution(templates: Sequence[str], rules: CaptionRules, most: int) -> Distribution | None:
    """The texts with their probabilities, which add up to 1; None if there are more than `most`, or if there are too
    many ways to them to be counted. Token warm-up is left aside: they are those of its end.
    """
    found: Distribution = {}
    for number, chance in enumerate(Walk()):
        text = draw_text(templates, rules, chance, rules.tag_warmup_steps)
        found[text] = found.get(text, 0.0) + chance.share
        if len(found) > most or number > WAYS * most:
            return None
    return found


def count_texts(templates: Sequence[str], rules: CaptionRules, most: int) -> int | None:
    """How many texts there are; None: more than `most`."""
    found = find_distribution(templates, rules, most)
    return None if found is None else len(found)
