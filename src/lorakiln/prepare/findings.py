"""What may be wrong with pictures that can be used, each kind by its name in `prepare.findings`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lorakiln.prepare.buckets import Placement
from lorakiln.prepare.missing_pictures import name_rightly
from lorakiln.rows import PreparedRow, select_files
from lorakiln.schema.prepare import FindingSettings, PrepareSettings


@dataclass(frozen=True)
class Finding:
    """Pictures about which one thing is odd.

    Attributes:
        name: of prepare.findings.
        what: in a few words.
        sentence: for a warning.
        pictures: a line each, or one for those that belong together.
    """

    name: str
    what: str
    sentence: str
    pictures: Sequence[str]

    def is_error(self, levels: FindingSettings) -> bool:
        return bool(getattr(levels, self.name) == "error")


@dataclass(frozen=True)
class _Kind:
    """What one looks for in each picture by itself: `describe` says how it is so, "" where it is not."""

    name: str
    what: str
    sentence: str
    describe: Callable[[PreparedRow, PrepareSettings], str]


def _describe_small(row: PreparedRow, settings: PrepareSettings) -> str:
    small = min(row.source_width, row.source_height) < settings.min_side
    return f"{row.source_width}x{row.source_height}" if small else ""


def _describe_enlarged(row: PreparedRow, settings: PrepareSettings) -> str:
    return f"{row.scale:.1f} times" if row.scale > settings.enlarged_above else ""


def _describe_blurred(row: PreparedRow, settings: PrepareSettings) -> str:
    return f"{row.blur:.2f}" if row.blur > settings.blurred_above else ""


def _describe_bordered(row: PreparedRow, settings: PrepareSettings) -> str:
    return f"{row.border:.0%} of it" if row.border > settings.border_above else ""


def _describe_cropped(row: PreparedRow, settings: PrepareSettings) -> str:
    share = compute_cut_share(row)
    return f"{share:.0%} of it" if share > settings.cropped_above else ""


def _describe_black_mask(row: PreparedRow, settings: PrepareSettings) -> str:
    return row.mask.source if row.mask and row.mask.share == 0 else ""


KINDS = (
    _Kind("too_small", "too small", "pictures below prepare.min_side show little", _describe_small),
    _Kind("enlarged", "enlarged", "pictures enlarged more than {enlarged_above:g} times look soft", _describe_enlarged),
    _Kind(
        "blurred",
        "blurred",
        "blurred pictures are learned as blurred; take out what is out of focus",
        _describe_blurred,
    ),
    _Kind(
        "border", "with bars", "bars along the sides are learned; cut them off (lorakiln review)", _describe_bordered
    ),
    _Kind("cropped", "cropped", "pictures of which their bucket cuts off much; crop them by hand", _describe_cropped),
    _Kind(
        "black_mask",
        "masks that are black",
        "masks that are black: nothing of these pictures is to be learned",
        _describe_black_mask,
    ),
)


def compute_cut_share(placed: PreparedRow | Placement) -> float:
    """The share of a picture that its bucket cuts off, in [0, 1)."""
    if placed.resized is None:
        return 0.0
    left, top, right, bottom = placed.crop
    return 1 - (right - left) * (bottom - top) / (placed.resized[0] * placed.resized[1])


def describe_picture(row: PreparedRow, settings: PrepareSettings, names: Sequence[str]) -> list[str]:
    """What is odd about one picture by itself: ["blurred (0.61)"].

    Args:
        names: of the findings that are looked for.
    """
    found = [(kind, kind.describe(row, settings)) for kind in KINDS if kind.name in names]
    return [f"{kind.what} ({how})" for kind, how in found if how and getattr(settings.findings, kind.name) != "off"]


def list_findings(
    rows: Sequence[PreparedRow], settings: PrepareSettings, misnamed: Mapping[str, str] | None = None
) -> list[Finding]:
    """All findings that are not off, those without a picture left out.

    Args:
        rows: with their twins.
        misnamed: files that are pictures by what they hold, with the ending that they lack.
    """
    found = []
    renamed = {name: name_rightly(name, ending) for name, ending in sorted((misnamed or {}).items())}
    sentence = "pictures by what they hold, and not by their names, are not taken; rename them"
    lines = [f"{name} -> {right}" for name, right in renamed.items()]
    found.append(Finding("misnamed", "pictures with a wrong ending", sentence, lines))
    for kind in KINDS:
        named = [(row.file_name, kind.describe(row, settings)) for row in rows]
        lines = [f"{name} ({how})" for name, how in named if how]
        found.append(Finding(kind.name, kind.what, kind.sentence.format(**dict(settings)), lines))
    sentence = "files with the same content count more than once"
    found.append(Finding("same_file", "files with the same content", sentence, _list_same(rows)))
    sentence = "pictures that look the same weigh as much as there are of them"
    found.append(Finding("look_alike", "look the same", sentence, _list_alike(rows)))
    sentence = "pictures that are trained on and are for regularisation: each undoes what the other does"
    found.append(Finding("in_both_sets", "for training and for regularisation", sentence, _list_in_both(rows)))
    return [one for one in found if one.pictures and getattr(settings.findings, one.name) != "off"]


def _list_same(rows: Sequence[PreparedRow]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for row in select_files(rows):
        groups.setdefault(row.sha256, []).append(row.source)
    return [" = ".join(names) for names in groups.values() if len(names) > 1]


def _list_alike(rows: Sequence[PreparedRow]) -> list[str]:
    """Groups whose files differ; equal files are told apart from them."""
    groups: dict[str, dict[str, str]] = {}
    for row in select_files(rows):
        groups.setdefault(row.likeness, {}).setdefault(row.sha256, row.source)
    return [" ~ ".join(names.values()) for names in groups.values() if len(names) > 1]


def _list_in_both(rows: Sequence[PreparedRow]) -> list[str]:
    groups: dict[str, dict[bool, list[str]]] = {}
    for row in rows:
        groups.setdefault(row.likeness, {}).setdefault(row.is_reg, []).append(row.file_name)
    return [" ~ ".join([*sides[False], *sides[True]]) for sides in groups.values() if len(sides) > 1]
