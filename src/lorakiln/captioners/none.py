"""Nobody writes captions: files beside the pictures, and the trigger words where there is none."""

from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source


def make_captioner(source: Source, settings: NobodySettings) -> None:
    """None, whatever model is there."""
