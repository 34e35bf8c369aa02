"""What a tagger's numbers are of: selected_tags.csv, a row for each, and which of them become a caption.

    tag_id,name,category,count
    9999999,general,9,807858        9: what is shown, a rating
    470575,1girl,0,4225150          0: general
    5126,hatsune_miku,4,90211       4: a character

Of other sorts than these, and of ratings, nothing is written.
"""

import csv
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.captions.tags import spell_tag
from lorakiln.console.errors import UserError
from lorakiln.schema.captioners.tagger import TaggerSettings

GENERAL, CHARACTER = "0", "4"
COLUMNS = ("name", "category")
LARGEST = 100_000_000  # bytes


@dataclass(frozen=True)
class TagList:
    """The tags in the order of the numbers.

    Attributes:
        names: as the file spells them.
        sorts: of each, as the file has it.
    """

    path: Path
    names: tuple[str, ...]
    sorts: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "TagList":
        """
        Raises:
            UserError: it is missing, or no list of tags.
        """
        fix = "take selected_tags.csv from where model.onnx is from, or name another tagger in caption.source"
        if not path.exists():
            raise UserError("missing: not a tagger's folder", where=path, fix=fix)
        check_regular(path)
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError(f"longer than {LARGEST:,} bytes")
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                if absent := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
                    raise ValueError(f"no column {absent[0]}")
                rows = [(row["name"], row["category"]) for row in reader]
        except (ValueError, csv.Error) as error:
            raise UserError(f"not a list of tags ({error})", where=path, fix=fix) from error
        if not rows or any(not name or not sort for name, sort in rows):
            raise UserError("not a list of tags (a row without a name or a category)", where=path, fix=fix)
        return cls(path, *(tuple(column) for column in zip(*rows, strict=True)))

    def choose(self, settings: TaggerSettings) -> "TagChooser":
        """What makes tags of scores.

        Raises:
            UserError: settings name tags that the list has not.
        """
        spelled = self.names if settings.underscores else tuple(map(spell_tag, self.names))
        known = {key: name for name, key in zip(spelled, map(spell_tag, self.names), strict=True)}

        def look_up(setting: str, tags: Iterable[str]) -> list[str]:
            """The tags as they will be written."""
            if unknown := [tag for tag in tags if spell_tag(tag) not in known]:
                near = difflib.get_close_matches(spell_tag(unknown[0]), known, n=3)
                fix = f"did you mean {', '.join(near)}?" if near else f"{self.path.name} has its tags"
                raise UserError(f"the tagger has no tag {unknown[0]!r}", where=f"caption.{setting}", fix=fix)
            return [known[spell_tag(tag)] for tag in tags]

        replaced = look_up("replaced_tags", settings.replaced_tags)
        return TagChooser(
            names=spelled,
            thresholds=np.array([_find_threshold(sort, settings) for sort in self.sorts], dtype=np.float32),
            characters=frozenset(name for name, sort in zip(spelled, self.sorts, strict=True) if sort == CHARACTER),
            excluded=frozenset(look_up("excluded_tags", settings.excluded_tags)),
            replaced=dict(zip(replaced, settings.replaced_tags.values(), strict=True)),
            first=tuple(look_up("first_tags", settings.first_tags)),
            settings=settings,
        )


@dataclass(frozen=True)
class TagChooser:
    """Which tags become a caption, and in which order.

    Attributes:
        names: of all, as they are written.
        thresholds: of all (tags,); infinite for what is never written.
        characters, excluded, first: as in `names`.
        replaced: what is written by the name in its place; "": nothing.
    """

    names: tuple[str, ...]
    thresholds: np.ndarray
    characters: frozenset[str]
    excluded: frozenset[str]
    replaced: Mapping[str, str]
    first: tuple[str, ...]
    settings: TaggerSettings

    def pick(self, scores: np.ndarray) -> list[str]:
        """The tags of a picture, each once.

        Args:
            scores: (tags,), in [0, 1].
        """
        found = {self.names[one]: float(scores[one]) for one in np.flatnonzero(scores >= self.thresholds)}
        tags = [name for name in found if name not in self.excluded]
        if self.settings.order == "score":
            tags.sort(key=lambda name: -found[name])
        elif self.settings.order == "alphabet":
            tags.sort()
        # Sorting keeps the order of what is equal.
        if self.settings.characters_first:
            tags.sort(key=lambda name: name not in self.characters)
        tags.sort(key=lambda name: self.first.index(name) if name in self.first else len(self.first))
        written = (self.replaced.get(name, name).strip() for name in tags)
        return [tag for tag in dict.fromkeys(written) if tag]


def _find_threshold(sort: str, settings: TaggerSettings) -> float:
    threshold = {GENERAL: settings.general_threshold, CHARACTER: settings.character_threshold}.get(sort)
    return float("inf") if threshold is None else threshold
