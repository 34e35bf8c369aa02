"""What `upload_images: false` keeps out of settings: words that captions and prompts are made of."""

from functools import cache
from typing import Any

from lorakiln.schema.marks import Private, list_outermost
from lorakiln.schema.whole_config import Config


def remove_words(settings: Any) -> Any:
    """`settings` (JSON-able, nested) without prompts, trigger words and labels: what the schema calls so, wherever it
    stands, for facts repeat what settings say."""
    if isinstance(settings, dict):
        return {name: remove_words(value) for name, value in settings.items() if name not in _words()}
    if isinstance(settings, list | tuple):
        return [remove_words(value) for value in settings]
    return settings


@cache
def _words() -> frozenset[str]:
    found = list_outermost(Config, lambda marks: marks.private in (Private.WORDS, Private.TRIGGER))
    return frozenset(setting.path.rpartition(".")[2] for setting in found)
