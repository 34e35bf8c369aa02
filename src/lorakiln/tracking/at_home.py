"""What `upload_images: false` keeps out of settings: words that captions and prompts are made of."""

from typing import Any

# Names of settings, in whatever stage: caption.trigger, caption.prompt, train.samples.prompts, evaluate.classify.
WORDS = {"trigger", "prompt", "prompts", "negative_prompt", "classify"}


def without_words(settings: Any) -> Any:
    """`settings` (JSON-able, nested) without prompts, trigger words and labels."""
    if isinstance(settings, dict):
        return {name: without_words(value) for name, value in settings.items() if name not in WORDS}
    if isinstance(settings, list | tuple):
        return [without_words(value) for value in settings]
    return settings
