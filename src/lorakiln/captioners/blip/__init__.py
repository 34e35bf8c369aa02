"""BLIP, the captioner (arXiv 2201.12086): found and identified; the model itself is in `model`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lorakiln.captioners.model_files import identify_source, locate
from lorakiln.families.model_source import find_model_folder
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.model import Source

# What of a model's folder is read.
FILES = ["*.json", "vocab.txt", "model*.safetensors"]


def make_captioner(source: Source, settings: BlipSettings) -> "BlipCaptioner":
    return BlipCaptioner(source, settings)


class BlipCaptioner:
    """The model's BLIP; loaded when there is something to write."""

    def __init__(self, source: Source, settings: BlipSettings) -> None:
        self.source, self.settings = source, settings

    def identify(self) -> dict[str, Any]:
        """See `captioners.Captioner`.

        Raises:
            UserError: a file is there, and no folder.
        """
        return identify_source(self.source, FILES)

    def write(self, pictures: Sequence[Path], done: Callable[[int, str], object]) -> Iterator[str]:
        """See `captioners.Captioner`."""
        # Imported late: a run that reuses all its captions should not wait for transformers.
        from lorakiln.captioners.blip.model import Blip
        from lorakiln.console.gpu import choose_device, describe_device

        locate(self.source)
        folder = find_model_folder(self.source.path, self.source.revision, FILES)
        device = choose_device()
        print(f"caption: {len(pictures)} pictures for the captioner, on {describe_device(device)}", flush=True)
        blip = Blip.load(folder, device)
        yield from blip.write(pictures, self.settings, done)
