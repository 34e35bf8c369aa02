"""The networks of the user's that prepare runs on pictures: a face detector, an upscaler, a segmenter."""

from dataclasses import dataclass

from lorakiln.prepare.faces import FaceDetector
from lorakiln.prepare.segmenting import Segmenter
from lorakiln.prepare.upscaling import Upscaler
from lorakiln.schema.prepare import PrepareSettings


@dataclass(frozen=True)
class Networks:
    """Those that the settings name; None where they name none."""

    detector: FaceDetector | None = None
    upscaler: Upscaler | None = None
    segmenter: Segmenter | None = None

    @classmethod
    def of(cls, settings: PrepareSettings) -> "Networks":
        """Each is loaded once, to see that it is one.

        Raises:
            UserError: a file is not there, or of another form; onnxruntime is not installed.
        """
        found = FaceDetector.of(settings.face), Upscaler.of(settings.upscale), Segmenter.of(settings.segment)
        return cls(*found)

    @property
    def identities(self) -> dict[str, str | None]:
        """By the settings that name them; equal where the same comes of them."""
        return {
            "face.detector": self.detector.file.identity if self.detector else None,
            "upscale.network": self.upscaler.file.identity if self.upscaler else None,
            "segment.network": self.segmenter.file.identity if self.segmenter else None,
        }
