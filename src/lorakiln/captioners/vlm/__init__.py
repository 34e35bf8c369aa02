"""A vision-language model of transformers' by its name: found and identified; the model itself is in `model`."""

from pathlib import Path
from typing import Any

from lorakiln.captioners.model_files import FolderCaptioner, Writer
from lorakiln.schema.captioners.vlm import VlmSettings
from lorakiln.schema.model import Source


def make_captioner(source: Source, settings: VlmSettings) -> "VlmCaptioner":
    return VlmCaptioner(source, settings)


class VlmCaptioner(FolderCaptioner):
    # Configs and tokenizers of all sorts, weights; no code.
    FILES = ["*.json", "*.jinja", "*.txt", "*.model", "model*.safetensors"]

    def load(self, folder: Path, device: Any) -> Writer:
        from lorakiln.captioners.vlm.model import Vlm

        return Vlm.load(folder, device, self.settings.precision)
