"""What sd-scripts says in a LoRA file of captions that are drawn in training."""

from typing import Any

from lorakiln.facts import RunFacts
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.objectives import ObjectiveSettings


def tell_rules(facts: RunFacts, objective: ObjectiveSettings) -> dict[str, Any]:
    """The keys of the whole training; of what is not used nothing."""
    rules = facts.made_with("encode", EncodeSettings).captions
    told: dict[str, Any] = {
        "ss_caption_dropout_every_n_epochs": objective.caption_dropout_every_epochs,
        "ss_caption_tag_dropout_rate": rules.tag_dropout,
        "ss_shuffle_caption": rules.shuffle,
        "ss_keep_tokens": rules.keep_tags,
    }
    return {key: value for key, value in told.items() if value}


def tell_subset_rules(facts: RunFacts, private: bool) -> dict[str, Any]:
    """The keys of a subset of pictures.

    Args:
        private: leave out what a user wrote.
    """
    rules, captions = facts.made_with("encode", EncodeSettings).captions, facts.settings.get("caption", {})
    return {
        "shuffle_caption": rules.shuffle,
        "keep_tokens": rules.keep_tags,
        "keep_tokens_separator": rules.keep_separator or None,
        "secondary_separator": rules.secondary_separator or None,
        "enable_wildcard": rules.wildcards,
        "caption_prefix": None if private else captions.get("prefix") or None,
        "caption_suffix": None if private else captions.get("suffix") or None,
    }
