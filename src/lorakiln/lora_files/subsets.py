"""A dataset's pictures as sd-scripts tells them: folders of pictures that are repeated alike."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lorakiln.facts.run import RunFacts
from lorakiln.rows import CaptionedRow
from lorakiln.schema.subset_rules import PictureRules, SubsetRules
from lorakiln.schema.train import TrainSettings


@dataclass(frozen=True)
class Subset:
    """Pictures that are repeated alike, as sd-scripts has them in a folder.

    Attributes:
        folder: "10_sks dog".
        repeats: of the folder times those of the training.
        rules, pictures: what is another for it than for the rest.
    """

    folder: str
    repeats: int
    class_tokens: str
    is_reg: bool
    rows: list[CaptionedRow]
    rules: SubsetRules = SubsetRules()
    pictures: PictureRules = PictureRules()


def list_subsets(facts: RunFacts, rows: Sequence[CaptionedRow]) -> list[Subset]:
    """The pictures as the dataset's own folders have them; as one folder of its name, where it has none such."""
    groups: dict[tuple[str, int, bool, str, str], list[CaptionedRow]] = {}
    for row in rows:
        rules = row.rules.model_dump_json(), row.pictures.model_dump_json()
        groups.setdefault((row.class_tokens, row.repeats, row.is_reg, *rules), []).append(row)
    repeats = facts.made_with("train", TrainSettings).repeats
    found, called = list[Subset](), Counter[str]()
    for (tokens, times, is_reg, *_), group in (groups or {("", 1, False, "", ""): []}).items():
        name = f"{times * repeats}_{tokens or facts.dataset.name}"
        called[name] += 1
        folder = name if called[name] == 1 else f"{name} ({called[name]})"  # others with other rules
        first = (group[0].rules, group[0].pictures) if group else ()
        found.append(Subset(folder, times * repeats, tokens, is_reg, group, *first))
    return found


def group_by_size(subsets: Sequence[Subset]) -> list[tuple[PictureRules, list[Subset]]]:
    """The subsets by what is another for their buckets, as sd-scripts has them in a [[datasets]] each."""
    groups: dict[str, tuple[PictureRules, list[Subset]]] = {}
    for one in subsets:
        size = PictureRules(**one.pictures.model_dump(include={"resolution", "bucket"}, exclude_unset=True))
        groups.setdefault(size.model_dump_json(), (size, []))[1].append(one)
    return list(groups.values())


def count_shown(
    facts: RunFacts, rows: Sequence[CaptionedRow], every: Sequence[CaptionedRow] | None = None
) -> tuple[int, int]:
    """What an epoch shows of the subject, repeats counted, and of pictures for regularisation, which are as many if
    there are any; see `train.validation_split.repeat_rows`.

    Args:
        rows: those that are counted.
        every: all that there are, if these are some of them: then those for regularisation count by their own repeats.
    """
    repeats = facts.made_with("train", TrainSettings).repeats
    every = rows if every is None else every
    for_reg = [row for row in rows if row.is_reg]
    subjects = facts.dataset.pictures - sum(row.is_reg for row in every)
    if every is rows:
        shown = subjects + sum(row.repeats - 1 for row in rows if not row.is_reg)
    else:
        shown = sum(row.repeats for row in rows if not row.is_reg)
    # Which ones are held out is not known here: they count as the mean.
    count = round(shown * (subjects - facts.held_out) / max(1, subjects)) * repeats
    if every is rows:
        return count, count if for_reg else 0
    return count, sum(row.repeats for row in for_reg) * repeats
