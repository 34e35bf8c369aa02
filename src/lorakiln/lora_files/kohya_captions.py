"""What sd-scripts says in a LoRA file of captions that are drawn in training."""

from typing import Any

from lorakiln.facts.run import RunFacts
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.objectives import ObjectiveSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.subset_rules import PictureRules, SubsetRules, adapt_augment, adapt_face, adapt_rules


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


def tell_subset_rules(facts: RunFacts, own: SubsetRules, pictures: PictureRules, private: bool) -> dict[str, Any]:
    """The keys of a subset of pictures.

    Args:
        own, pictures: what is another for it.
        private: leave out what a user wrote.
    """
    encode, captions = facts.made_with("encode", EncodeSettings), facts.settings.get("caption", {})
    rules = adapt_rules(encode.captions, own.captions)
    prefix, suffix = (
        captions.get(name) if given is None else given
        for name, given in (("prefix", own.prefix), ("suffix", own.suffix))
    )
    augment = adapt_augment(encode.augment, own.augment)
    face = adapt_face(facts.made_with("prepare", PrepareSettings).face, pictures.face)
    return {
        "color_aug": augment.changes_colour,
        "random_crop": augment.crop == "random",
        **({"face_crop_aug_range": [face.closest, face.widest]} if augment.crop == "face" else {}),
        "flip_aug": encode.flip if own.flip is None else own.flip,
        "shuffle_caption": rules.shuffle,
        "keep_tokens": rules.keep_tags,
        "keep_tokens_separator": rules.keep_separator or None,
        "secondary_separator": rules.secondary_separator or None,
        "enable_wildcard": rules.wildcards,
        "caption_prefix": None if private else prefix or None,
        "caption_suffix": None if private else suffix or None,
    }
