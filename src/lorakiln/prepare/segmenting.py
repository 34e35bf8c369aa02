"""What of a picture is its subject, by a network of the user's: an ONNX file as rembg's, such as U2-Net or BiRefNet.

The form (danielgatis/rembg, sessions/): one input (1, 3, H, W) with fixed sides, the whole picture stretched to W x H,
RGB from 0 to 1 less `mean`, over `std`; the first output (1, 1, h, w), from 0, not the subject, to 1.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from lorakiln.prepare.onnx_files import OnnxFile
from lorakiln.schema.prepare import SegmentSettings

FORM = (
    "a segmenter of rembg's form: an input (1, 3, H, W) with fixed sides, an output (1, 1, h, w) from 0 to 1; see "
    "docs/datasets.md"
)
ROUNDING = 0.01  # beyond 0 and 1


@dataclass(frozen=True)
class Segmenter:
    """Can be sent to other processes.

    Attributes:
        file: the network.
        size: (width, height) that it takes, pixels.
        mean, std: of red, green and blue.
    """

    file: OnnxFile
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, settings: SegmentSettings) -> "Segmenter | None":
        """The settings' segmenter, tried once; None if they name none.

        Raises:
            UserError: the file is not there, or of another form; onnxruntime is not installed.
        """
        if settings.network is None:
            return None
        file = OnnxFile.of("prepare.segment.network", settings.network, "segmenter", FORM)
        shape = file.shape
        if shape[1] != 3 or not all(isinstance(side, int) and side > 0 for side in shape[2:]):
            raise file.refuse(f"its input has the shape {shape}")
        found = cls(file, (shape[3], shape[2]), settings.mean, settings.std)
        found.find(Image.new("RGB", (64, 64)))
        return found

    def find(self, image: Image.Image) -> Image.Image:
        """The subject, L of the size of a picture, RGB: white where it is.

        Raises:
            UserError: the network is of another form, or fails.
        """
        values = np.asarray(image.resize(self.size, Resampling.BILINEAR), dtype=np.float32) / 255
        values = (values - np.array(self.mean, dtype=np.float32)) / np.array(self.std, dtype=np.float32)
        mask = self.file.run(values.transpose(2, 0, 1)[None])[0]
        if mask.ndim != 4 or mask.shape[:2] != (1, 1):
            raise self.file.refuse(f"its first output has the shape {mask.shape}")
        least, most = float(mask.min()), float(mask.max())
        if not (least >= -ROUNDING and most <= 1 + ROUNDING):
            raise self.file.refuse(f"its output goes from {least:.3g} to {most:.3g}: end it with a sigmoid")
        shades = np.rint(mask[0, 0].clip(0, 1) * 255).astype(np.uint8)
        return Image.fromarray(shades).resize(image.size, Resampling.BILINEAR)
