"""Short names of jobs, for pictures."""

import re
from collections.abc import Sequence

LONGEST = 48  # letters of a value


def make_short_titles(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Each job's overrides by the last word of their keys, unless two keys share it; of long values the ends.

    ["train.adapter.rank=4", "train/scheduler=cosine"] -> "rank=4 scheduler=cosine".
    """
    keys = {one.partition("=")[0] for overrides in jobs for one in overrides}
    lasts = [_last(key) for key in keys]
    names = {key: _last(key) if lasts.count(_last(key)) == 1 else key for key in keys}
    pairs = [[one.partition("=") for one in overrides] for overrides in jobs]
    return [" ".join(f"{names[key]}{equals}{_ends(value)}" for key, equals, value in one) for one in pairs]


def format_spans(numbers: Sequence[int]) -> str:
    """Numbers in few letters: [0, 1, 2, 5] -> "0-2, 5"."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(str(one[0]) if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in found)


def _last(key: str) -> str:
    return re.split(r"[./@]", key)[-1] or key


def _ends(value: str) -> str:
    half = LONGEST // 2
    return value if len(value) <= LONGEST else f"{value[:half]}…{value[-half + 1 :]}"
