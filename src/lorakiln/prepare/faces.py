"""Where a picture's face is, by a detector of the user's: an ONNX file of the form of UltraFace.

The form (ONNX model zoo, vision/body_analysis/ultraface, version-RFB-320 and -640): one input of pictures, (1, 3, H, W)
or (1, H, W, 3) with fixed sides, float32, RGB, (value - 127) / 128 of values from 0 to 255, the whole picture stretched
to W x H; two outputs, scores (1, N, 2), no face and face, from 0 to 1, and boxes (1, N, 4), left, top, right and bottom
as fractions of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from lorakiln.prepare.onnx_files import OnnxFile
from lorakiln.schema.prepare import FaceSettings

MIDDLE, REACH = 127.0, 128.0  # of the values that the network takes
# Boxes that share more than this of their union are of one face (UltraFace's own value).
SAME_FACE = 0.5
FORM = (
    "a detector of UltraFace's form: an input (1, 3, H, W) or (1, H, W, 3), outputs scores (1, N, 2) and boxes "
    "(1, N, 4); see docs/augmentation.md"
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class FaceDetector:
    """Can be sent to other processes.

    Attributes:
        file: the network.
        least_score: boxes that score less are no faces.
        channels_first: of its input.
        size: (width, height) that it takes, pixels.
    """

    file: OnnxFile
    least_score: float
    channels_first: bool
    size: tuple[int, int]

    @classmethod
    def of(cls, settings: FaceSettings) -> "FaceDetector | None":
        """The settings' detector, tried once to see that it is one; None if they name none.

        Raises:
            UserError: the file is not there, or of another form; onnxruntime is not installed.
        """
        if settings.detector is None:
            return None
        file = OnnxFile.of("prepare.face.detector", settings.detector, "face detector", FORM)
        shape = file.shape
        channels_first = shape[1] == 3
        sides = shape[2:] if channels_first else shape[1:3]
        if not (channels_first or shape[3] == 3) or not all(isinstance(side, int) and side > 0 for side in sides):
            raise file.refuse(f"its input has the shape {shape}")
        found = cls(file, settings.least_score, channels_first, (sides[1], sides[0]))
        found.find(Image.new("RGB", (64, 64)))
        return found

    def find(self, image: Image.Image) -> Box | None:
        """The largest face: left, top, right and bottom as fractions of the picture, RGB; None if there is none.

        Raises:
            UserError: the network is of another form, or fails.
        """
        values = np.asarray(image.resize(self.size, Resampling.BILINEAR), dtype=np.float32)
        values = (values - MIDDLE) / REACH
        values = values.transpose(2, 0, 1) if self.channels_first else values
        scores, boxes = self._tell_apart(self.file.run(values[None]))
        return choose_face(scores, boxes, self.least_score)

    def _tell_apart(self, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Each box's score (N,), and the boxes (N, 4)."""
        shapes = [one.shape for one in outputs]
        by_last = {one.shape[-1]: one[0] for one in outputs if one.ndim == 3}
        if len(shapes) != 2 or set(by_last) != {2, 4} or shapes[0][:2] != shapes[1][:2] or shapes[0][0] != 1:
            raise self.file.refuse(f"its outputs have the shapes {', '.join(map(str, shapes))}")
        return by_last[2][:, 1], by_last[4]


def choose_face(scores: np.ndarray, boxes: np.ndarray, least_score: float) -> Box | None:
    """The largest face of a detector's boxes; of those that are of one face the best.

    Args:
        scores: (N,).
        boxes: (N, 4), left, top, right, bottom; what is outside of the picture is cut off.
    """
    boxes = boxes.clip(0, 1)
    sizes = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    left = [int(one) for one in np.argsort(-scores, kind="stable") if scores[one] >= least_score and sizes[one] > 0]
    found = []
    while left:
        best, *left = left
        found.append(best)
        left = [one for one in left if _overlap(boxes[best], boxes[one]) <= SAME_FACE]
    if not found:
        return None
    first, top, last, bottom = boxes[max(found, key=lambda one: sizes[one])].astype(float).tolist()
    return first, top, last, bottom


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes that are not empty."""
    common = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0).prod()
    both = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common
    return float(common / both)
