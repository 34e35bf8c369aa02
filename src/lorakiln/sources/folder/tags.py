"""Tags that a booru's downloader left beside a picture, a.json or a.jpg.json, as a caption: "1girl, solo, long hair".

    tag_string                       Danbooru: words, and by sort in tag_string_character, ..._copyright, ..._general
    tags                             Gelbooru, gallery-dl: words or a list; e621: lists by sort
    tag_string_*, tags_*             by sort alone

Underscores become spaces, as bases that were trained on tags know them, but for those that are faces ("^_^", "o_o").
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from lorakiln.captions.tags import spell_tag

SORTS = ("character", "copyright", "species", "general")  # in this order; artists and counts are not what is seen


def list_names(picture: str) -> Iterator[str]:
    """The names that the file of a picture may have."""
    yield PurePosixPath(picture).with_suffix(".json").as_posix()
    yield f"{picture}.json"


def read_tags(text: str) -> str | None:
    """The caption that a file's tags are; None if it has none.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError("too deep") from error
    tags = list(dict.fromkeys(_list_tags(data))) if isinstance(data, dict) else []
    return ", ".join(tags) or None


def _list_tags(data: Mapping[str, object]) -> Iterator[str]:
    for given in (data.get("tag_string"), data.get("tags"), *_by_sort(data)):
        tags = [tag for one in _by_sort(given) for tag in _split(one)] if isinstance(given, dict) else _split(given)
        if tags:
            yield from map(spell_tag, tags)
            if given in (data.get("tag_string"), data.get("tags")):
                return


def _by_sort(data: Mapping[str, object]) -> list[object]:
    return [data[key] for sort in SORTS for key in (sort, f"tag_string_{sort}", f"tags_{sort}") if key in data]


def _split(given: object) -> list[str]:
    if isinstance(given, str):
        # Downloaders that join by commas leave spaces in the tags.
        return [tag for one in given.split(",") if (tag := one.strip())] if "," in given else given.split()
    return [tag.strip() for tag in given if isinstance(tag, str) and tag.strip()] if isinstance(given, list) else []
