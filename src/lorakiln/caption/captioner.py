"""Who writes captions: found, identified, and asked only about what it has not written yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorakiln.artefacts.code_digest import code_key
from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.artefacts.kept import Kept
from lorakiln.artefacts.records import read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.console.progress import progress
from lorakiln.families.identity import identify
from lorakiln.families.source import find
from lorakiln.schema.caption import CaptionSettings
from lorakiln.schema.marks import Decides, decided
from lorakiln.schema.model import Source

if TYPE_CHECKING:
    import torch

# What of a model's folder is read.
FILES = ["*.json", "vocab.txt", "model*.safetensors"]
FIX = "name a hub id or a folder in model.captioner.path"


class Captioner:
    """The captioner of the settings; loaded when there is something new to write.

    Attributes:
        facts: what decides its answers. A local folder is known by its content, a hub's model by name and revision,
            so that nothing need be fetched where all captions are there already.
    """

    def __init__(self, source: Source, settings: CaptionSettings) -> None:
        self.source, self.settings = source, settings
        folder = Path(source.path).expanduser()
        if folder.is_file():
            raise UserError("a file, not a folder in transformers' layout", where=folder, fix=FIX)
        if folder.is_dir():
            used = sorted({path for pattern in FILES for path in folder.glob(pattern)})
            self.facts = {"hash": identify((path.name, path) for path in used)}
        else:
            self.facts = {"path": source.path, "revision": source.revision}

    def key(self, picture: Path) -> str:
        """Equal keys, equal captions."""
        kept = decided(self.settings, Decides.WRITING)
        return hash_data("caption", code_key(Captioner), self.facts, self._device().type, kept, hash_file(picture))

    def write(self, pictures: Mapping[str, Path], kept: Kept | None = None) -> dict[str, str]:
        """Texts, without trigger words, by the keys of the pictures.

        Args:
            kept: takes each text as it is written, so that a captioner that is stopped need not write it again.

        Raises:
            UserError: the captioner is not there, cannot be reached or loaded.
        """
        if not pictures:
            return {}
        # Imported late: a run that reuses all its captions should not wait for transformers.
        from lorakiln.caption.blip import Blip

        folder = find(self.source.path, self.source.revision, FILES)
        if not any(folder.glob("model*.safetensors")):
            fix = "only safetensors are read, for pickles can run code: load it in transformers and save_pretrained it"
            raise UserError("no safetensors weights of a captioner", where=folder, fix=fix)
        blip = Blip.load(folder, self._device())
        texts = {}
        with progress("caption", len(pictures)) as bar:
            written = blip.write(list(pictures.values()), self.settings, bar.advance)
            for key, text in zip(pictures, written, strict=True):
                texts[key] = text
                if kept:
                    kept.add(key, partial(_keep, text))
        return texts

    def _device(self) -> torch.device:
        import torch

        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_written(folder: Path) -> dict[str, str]:
    """Texts by key that a captioned folder of an earlier run holds; none if it is absent or damaged."""
    try:
        rows: Sequence[dict[str, Any]] = read_jsonl(folder / "metadata.jsonl")
        return {row["caption_key"]: row["written"] for row in rows if row["caption_key"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"caption: {folder} is damaged and made again ({error})", flush=True)
        return {}


def read_kept(kept: Kept) -> dict[str, str]:
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
