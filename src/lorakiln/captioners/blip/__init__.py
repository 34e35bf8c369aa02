"""BLIP, the captioner (arXiv 2201.12086): found and identified; the model itself is in `model`."""

from pathlib import Path
from typing import Any

from lorakiln.captioners.model_files import FolderCaptioner, Writer
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.model import Source


def make_captioner(source: Source, settings: BlipSettings) -> "BlipCaptioner":
    return BlipCaptioner(source, settings)


class BlipCaptioner(FolderCaptioner):
    FILES = ["*.json", "vocab.txt", "model*.safetensors"]

    def load(self, folder: Path, device: Any) -> Writer:
        from lorakiln.captioners.blip.model import Blip

        return Blip.load(folder, device)
