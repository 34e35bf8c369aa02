"""Putting the trigger words, a prefix and a suffix to a caption."""

import re


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
