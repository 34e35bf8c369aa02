"""Where a picture's face is, by a detector of the user's: an ONNX file of the form of UltraFace.

The form (ONNX model zoo, vision/body_analysis/ultraface, version-RFB-320 and -640): one input of pictures, (1, 3, H, W)
or (1, H, W, 3) with fixed sides, float32, RGB, (value - 127) / 128 of values from 0 to 255, the whole picture stretched
to W x H; two outputs, scores (1, N, 2), no face and face, from 0 to 1, and boxes (1, N, 4), left, top, right and bottom
as fractions of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.console.errors import UserError
from lorakiln.libraries import import_onnxruntime
from lorakiln.schema.prepare import FaceSettings

SETTING = "prepare.face.detector"
MIDDLE, REACH = 127.0, 128.0  # of the values that the network takes
# Boxes that share more than this of their union are of one face (UltraFace's own value).
SAME_FACE = 0.5
FORM = (
    "a detector of UltraFace's form: an input (1, 3, H, W) or (1, H, W, 3), outputs scores (1, N, 2) and boxes "
    "(1, N, 4); see docs/augmentation.md"
)

Box = tuple[float, float, float, float]


class _Network(NamedTuple):
    """A loaded file; `channels_first` of its input, `size` (width, height)."""

    session: Any
    input: str
    channels_first: bool
    size: tuple[int, int]


@dataclass(frozen=True)
class FaceDetector:
    """Can be sent to other processes, which load it on their own.

    Attributes:
        path: of the file.
        least_score: boxes that score less are no faces.
        identity: equal for detectors that find the same.
    """

    path: str
    least_score: float
    identity: str

    @classmethod
    def of(cls, settings: FaceSettings) -> "FaceDetector | None":
        """The settings' detector, loaded once to see that it is one; None if they name none.

        Raises:
            UserError: the file is not there, or of another form; onnxruntime is not installed.
        """
        if settings.detector is None:
            return None
        path = Path(settings.detector).expanduser()
        if not path.is_file():
            raise UserError("no such file", where=f"{SETTING}={settings.detector}", fix=f"name {FORM}")
        identity = hash_data(hash_file(path), import_onnxruntime(SETTING).__version__)
        found = cls(str(path), settings.least_score, identity)
        found.find(Image.new("RGB", (64, 64)))
        return found

    def find(self, image: Image.Image) -> Box | None:
        """The largest face: left, top, right and bottom as fractions of the picture, RGB; None if there is none.

        Raises:
            UserError: the network is of another form, or fails.
        """
        network = _load(self.path, self.identity)
        values = np.asarray(image.resize(network.size, Resampling.BILINEAR), dtype=np.float32)
        values = (values - MIDDLE) / REACH
        values = values.transpose(2, 0, 1) if network.channels_first else values
        try:
            outputs = network.session.run(None, {network.input: np.ascontiguousarray(values[None])})
        except Exception as error:  # the library's own kinds, which are many
            raise _refuse(self.path, f"it fails: {str(error).splitlines()[0]}") from error
        scores, boxes = _tell_apart(self.path, outputs)
        return choose_face(scores, boxes, self.least_score)


@lru_cache(maxsize=1)
def _load(path: str, identity: str) -> _Network:
    """The file, on one thread of the processor: pictures are shared out among processes already.

    Args:
        identity: of its content, so that another file in its place is loaded anew.
    """
    library = import_onnxruntime(SETTING)
    options = library.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise _refuse(path, f"it cannot be read: {str(error).splitlines()[0]}") from error
    inputs = session.get_inputs()
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
    told = ", ".join(f"{one.name} {tuple(one.shape)} {one.type}" for one in inputs)
    if len(shape) != 4 or inputs[0].type != "tensor(float)":
        raise _refuse(path, f"its inputs are {told}")
    channels_first = shape[1] == 3
    sides = shape[2:] if channels_first else shape[1:3]
    if not (channels_first or shape[3] == 3) or not all(isinstance(side, int) and side > 0 for side in sides):
        raise _refuse(path, f"its input is {told}")
    return _Network(session, inputs[0].name, channels_first, (sides[1], sides[0]))


def _tell_apart(path: str, outputs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Each box's score (N,), and the boxes (N, 4)."""
    shapes = [np.shape(one) for one in outputs]
    by_last = {shape[-1]: np.asarray(one)[0] for shape, one in zip(shapes, outputs, strict=True) if len(shape) == 3}
    if len(shapes) != 2 or set(by_last) != {2, 4} or shapes[0][:2] != shapes[1][:2] or shapes[0][0] != 1:
        raise _refuse(path, f"its outputs have the shapes {', '.join(map(str, shapes))}")
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


def _refuse(path: str, what: str) -> UserError:
    return UserError(f"no face detector that can be used: {what}", where=f"{SETTING}={path}", fix=f"name {FORM}")
