"""Completing a caption by rules, trigger words, a prefix and a suffix, and taking these off again."""

import re

from lorakiln.caption.rules import apply_rules
from lorakiln.schema.captioners import CaptionSettings
from lorakiln.schema.subset_rules import SubsetRules


def adapt_settings(settings: CaptionSettings, rules: SubsetRules) -> CaptionSettings:
    """The settings for the pictures of a subset that has some of its own."""
    own = {name: getattr(rules, name) for name in ("prefix", "suffix", "lines")}
    given = {name: value for name, value in own.items() if value is not None}
    return settings.model_copy(update=given) if given else settings


def complete_text(settings: CaptionSettings, text: str, is_reg: bool, by_hand: bool) -> str:
    """A caption as `caption.rules` make it; if they say no other place, with the trigger words first, then prefix,
    caption and suffix.

    Args:
        is_reg: whether its picture is for regularisation: that is not about the subject, and gets no trigger words.
        by_hand: whether somebody has written it, see `caption.trigger_in_files`.
    """
    triggered = not is_reg and (settings.trigger_in_files or not by_hand)
    placing = {
        "prefix": lambda one: put_around(one, settings.prefix, ""),
        "suffix": lambda one: put_around(one, "", settings.suffix),
        "trigger": lambda one: prepend_trigger(settings.trigger, one) if triggered else one,
    }
    return apply_rules(text, settings.rules, placing)


def strip_text(settings: CaptionSettings, whole: str, is_reg: bool) -> str | None:
    """What to write by hand, so that `complete_text` makes `whole` of it; None if nothing does.

    Trigger words are left out where they are put in front again.
    """
    trigger, prefix, suffix = (" ".join(part.split()) for part in (settings.trigger, settings.prefix, settings.suffix))
    text = " ".join(whole.split())
    for candidate in (text.removeprefix(f"{trigger}, ") if trigger else text, text):
        bare = candidate.removeprefix(f"{prefix} " if prefix else "").removesuffix(f" {suffix}" if suffix else "")
        if bare and complete_text(settings, bare, is_reg, by_hand=True) == text:
            return bare
    return None


def prepend_trigger(trigger: str, text: str) -> str:
    """'sks dog' and 'a red cat' give 'sks dog, a red cat'; a text that holds the trigger stays as it is."""
    trigger = " ".join(trigger.split())
    if not trigger or holds_trigger(text, trigger):
        return text
    return f"{trigger}, {text}" if text else trigger


def put_around(text: str, prefix: str, suffix: str) -> str:
    """'photo of,' and 'best' around 'a cat' give 'photo of, a cat best', as sd-scripts joins them."""
    return " ".join(part for part in (" ".join(prefix.split()), text, " ".join(suffix.split())) if part)


def holds_trigger(text: str, trigger: str) -> bool:
    """True if the words of `trigger` stand in `text`, whole and in this order, whatever the case."""
    words = r"\s+".join(re.escape(word) for word in trigger.split())
    return re.search(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE) is not None
