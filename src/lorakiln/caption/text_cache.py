"""Asking a captioner: only about what it has not written yet, and so that what it writes is not lost."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from lorakiln.artefacts.code_digest import compute_code_key
from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.captioners import Captioner
from lorakiln.console.gpu import find_device_type
from lorakiln.console.progress import show_progress
from lorakiln.rows import read_captioned
from lorakiln.schema.captioners import CaptionSettings
from lorakiln.schema.marks import Decides, select_decided
from lorakiln.schema.registry import list_modules


def compute_content_keys(
    captioner: Captioner, settings: CaptionSettings, pictures: Mapping[str, Path]
) -> dict[str, str]:
    """A key for every picture, by the pictures' names: equal keys, equal captions."""
    code = compute_code_key(*list_modules(settings))
    same = ("caption", code, captioner.identify(), find_device_type(), select_decided(settings, Decides.WRITING))
    return {name: hash_data(*same, hash_file(picture)) for name, picture in pictures.items()}


def write_texts(
    captioner: Captioner, pictures: Mapping[str, Path], kept: PartialResults | None = None
) -> dict[str, str]:
    """Texts, without trigger words, by the keys of the pictures.

    Args:
        kept: takes each text as it is written, so that a captioner that is stopped need not write it again.

    Raises:
        UserError: the captioner is not there, cannot be reached or loaded.
    """
    texts: dict[str, str] = {}
    if not pictures:
        return texts
    with show_progress("caption", len(pictures)) as bar:
        for key, text in zip(pictures, captioner.write(list(pictures.values()), bar.advance), strict=True):
            texts[key] = text
            if kept:
                kept.add(key, partial(_keep, text))
    return texts


def read_earlier_texts(folder: Path) -> dict[str, str]:
    """Texts by key that a captioned folder of an earlier run holds; none if it is absent or damaged."""
    try:
        rows = read_captioned(folder)
        found = {row.caption_key: row.written for row in rows if row.caption_key and row.written is not None}
        return found | {key: text for row in rows for key, text in row.links.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        print(f"caption: {folder} is damaged and made again ({error})", flush=True)
        return {}


def read_partial_texts(kept: PartialResults) -> dict[str, str]:
    """Texts by key that a captioner had written when it was stopped; what a power cut has damaged is left out."""
    texts = {}
    for key, path in kept.files().items():
        try:
            texts[key] = json.loads(path.read_text(encoding="utf-8"))["written"]
        except (ValueError, KeyError, TypeError):
            continue
    return texts


def _keep(text: str, path: Path) -> None:
    path.write_text(json.dumps({"written": text}), encoding="utf-8")
