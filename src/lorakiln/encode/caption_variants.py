"""The texts that training draws captions from, where they are embedded ahead."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from lorakiln.artefacts.hashing import hash_data
from lorakiln.captions import Distribution, draw_text, find_distribution
from lorakiln.captions.chance import RandomChance
from lorakiln.diffusion.random_draws import CAPTIONS, make_generator
from lorakiln.encode.content_keys import Row
from lorakiln.rows import DrawnCaptions, DrawnText
from lorakiln.schema.caption_rules import CaptionRules
from lorakiln.schema.marks import Decides, select_decided

FILE = "captions.safetensors"
Templates = tuple[str, ...]
Source = tuple[Templates, str]  # what a text is drawn from: templates, and the rules, as JSON


@dataclass(frozen=True)
class Variants:
    """How captions are drawn.

    Attributes:
        texts: all that are embedded ahead, each once; none where they are embedded when they are drawn.
        rules: of the pictures whose subset has none of its own.
        of: by what a picture's texts are drawn from, these with their probabilities.
    """

    mode: Literal["variants", "live"]
    rules: CaptionRules
    texts: tuple[str, ...]
    of: dict[Source, Distribution]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides, beside templates, which texts are drawn, JSON-able."""
        return {**select_decided(self.rules, Decides.CHOICES), "mode": self.mode}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {text: number for number, text in enumerate(self.texts)}

    def tell(self, row: Row) -> dict[str, Any]:
        """What a picture's row says of it."""
        told: dict[str, Any] = {"templates": list(row.templates)}
        if self.mode == "variants":
            told["shares"] = [(self._numbers[text], share) for text, share in self.of[_find_source(row)].items()]
        return told

    def describe(self, keys: Sequence[str]) -> DrawnCaptions:
        """What the index says.

        Args:
            keys: of `texts`.
        """
        if self.mode == "live":
            return DrawnCaptions(mode="live")
        texts = [DrawnText(text=text, key=key) for text, key in zip(self.texts, keys, strict=True)]
        return DrawnCaptions(mode="variants", file=FILE, texts=texts)


def choose_variants(rows: Sequence[Row], rules: CaptionRules) -> Variants | None:
    """Decide whether what may be drawn is embedded ahead, and list it; None where nothing is drawn. Each picture's are
    drawn by its own rules.

    Of a picture that has `most_variants` texts at most these are all, each as often as it would be drawn; of one that
    has more (with mode=variants) so many draws of them, which follow from its caption and the rules alone.
    """
    every = {_find_source(row): row for row in rows}
    if not any(row.rules.draws or len(row.templates) > 1 for row in every.values()):
        return None
    found: dict[Source, Distribution | None] = {}
    if rules.mode != "live" and not any(row.rules.tag_warmup_steps for row in every.values()):
        most = rules.most_variants
        found = {source: find_distribution(row.templates, row.rules, most) for source, row in every.items()}
    if not found or (rules.mode == "auto" and None in found.values()):
        return Variants("live", rules, (), {})
    of = {source: known or _draw_some(every[source].templates, every[source].rules) for source, known in found.items()}
    texts = dict.fromkeys(text for distribution in of.values() for text in distribution)
    return Variants("variants", rules, tuple(texts), of)


def _find_source(row: Row) -> Source:
    return row.templates, row.rules.model_dump_json()


def _draw_some(templates: Templates, rules: CaptionRules) -> Distribution:
    """So many draws as are embedded, each with the share that it came up with."""
    seed = int(hash_data(list(templates), select_decided(rules, Decides.CHOICES))[:16], 16)
    rngs = (make_generator(seed, CAPTIONS, number) for number in range(rules.most_variants))
    drawn = Counter(draw_text(templates, rules, RandomChance(rng)) for rng in rngs)
    return {text: count / rules.most_variants for text, count in drawn.items()}
