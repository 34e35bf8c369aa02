"""BLIP, the captioner (arXiv 2201.12086): found and identified; the model itself is in `model`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.families.identity import identify
from lorakiln.families.model_source import find_model_folder
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.model import Source

# What of a model's folder is read.
FILES = ["*.json", "vocab.txt", "model*.safetensors"]
FIX = "name a hub id or a folder in model.captioner.path"


def make_captioner(source: Source, settings: BlipSettings) -> "BlipCaptioner":
    return BlipCaptioner(source, settings)


class BlipCaptioner:
    """The model's BLIP; loaded when there is something to write."""

    def __init__(self, source: Source, settings: BlipSettings) -> None:
        self.source, self.settings = source, settings

    def identify(self) -> dict[str, Any]:
        """A local folder is known by its content, a hub's model by name and revision, so that nothing need be fetched
        where all captions are there already.

        Raises:
            UserError: a file is there, and no folder.
        """
        folder = self._folder()
        if folder.is_dir():
            used = sorted({path for pattern in FILES for path in folder.glob(pattern)})
            return {"hash": identify((path.name, path) for path in used)}
        return {"path": self.source.path, "revision": self.source.revision}

    def write(self, pictures: Sequence[Path], done: Callable[[int, str], object]) -> Iterator[str]:
        """See `captioners.Captioner`."""
        # Imported late: a run that reuses all its captions should not wait for transformers.
        from lorakiln.captioners.blip.model import Blip
        from lorakiln.console.gpu import choose_device, describe_device

        self._folder()
        folder = find_model_folder(self.source.path, self.source.revision, FILES)
        if not any(folder.glob("model*.safetensors")):
            fix = "only safetensors are read, for pickles can run code: load it in transformers and save_pretrained it"
            raise UserError("no safetensors weights of a captioner", where=folder, fix=fix)
        device = choose_device()
        print(f"caption: {len(pictures)} pictures for the captioner, on {describe_device(device)}", flush=True)
        blip = Blip.load(folder, device)
        yield from blip.write(pictures, self.settings, done)

    def _folder(self) -> Path:
        """Where a local one would be."""
        folder = Path(self.source.path).expanduser()
        if folder.is_file():
            raise UserError("a file, not a folder in transformers' layout", where=folder, fix=FIX)
        return folder
