"""Short names of jobs, for pictures."""

import re
from collections.abc import Sequence


def short_titles(titles: Sequence[str]) -> list[str]:
    """Overrides by the last word of their keys, unless two keys share it.

    "train.adapter.rank=4 train/scheduler=cosine" -> "rank=4 scheduler=cosine".
    """
    keys = {one.partition("=")[0] for title in titles for one in title.split()}
    lasts = [_last(key) for key in keys]
    names = {key: _last(key) if lasts.count(_last(key)) == 1 else key for key in keys}
    pairs = [[one.partition("=") for one in title.split()] for title in titles]
    return [" ".join(f"{names[key]}{equals}{value}" for key, equals, value in one) for one in pairs]


def _last(key: str) -> str:
    return re.split(r"[./@]", key)[-1] or key
