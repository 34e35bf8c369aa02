"""The network of a tagger: pictures in, how sure it is of each tag out.

The form (SmilingWolf's wd-v1-4-*-tagger-v2 and wd-*-tagger-v3, and what sd-scripts' tag_images_by_wd14_tagger.py
gives them): one input of pictures, (N, S, S, 3) float32, blue, green and red from 0 to 255, the whole picture in the
middle of a white square that is resized to S x S; an output (N, tags), from 0 to 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.libraries import import_onnxruntime

SETTING, INSTALL = "caption.captioner=tagger", 'pip install "lorakiln[taggers]"'
FORM = (
    "name a tagger of WD's form in caption.source: an input (N, S, S, 3), an output (N, tags); see docs/captioners.md"
)
ROUNDING = 1e-3  # of networks in half precision
WHITE = (255, 255, 255)
PROVIDERS = {"CUDAExecutionProvider": "a GPU", "CPUExecutionProvider": "the CPU"}


class Network(NamedTuple):
    """A loaded file.

    Attributes:
        side: of the square that it takes, pixels.
        batch: how many it takes at once; None: any number.
        tags: how many it tells of.
        device: where it computes, in words.
    """

    path: Path
    session: Any
    input: str
    side: int
    batch: int | None
    tags: int
    device: str

    @classmethod
    def load(cls, path: Path, tags: int) -> "Network":
        """
        Raises:
            UserError: the file is not there, or of another form.
        """
        if not path.exists():
            raise UserError("missing: not a tagger's folder", where=path, fix=FORM)
        check_regular(path)
        library = import_onnxruntime(SETTING, INSTALL)
        options = library.SessionOptions()
        options.log_severity_level = 3
        providers = [name for name in PROVIDERS if name in library.get_available_providers()]
        try:
            session = library.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the library's own kinds, which are many
            raise _refuse(path, f"it cannot be read: {str(error).splitlines()[0]}") from error
        inputs, outputs = session.get_inputs(), session.get_outputs()
        shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
        square = len(shape) == 4 and shape[3] == 3 and isinstance(shape[1], int) and shape[1] == shape[2]
        if not square or shape[1] < 1 or inputs[0].type != "tensor(float)":
            told = ", ".join(f"{one.name} {tuple(one.shape)} {one.type}" for one in inputs)
            raise _refuse(path, f"its input is {told}")
        given = outputs[0].shape
        if len(outputs) != 1 or (given and isinstance(given[-1], int) and given[-1] != tags):
            told = ", ".join(f"{one.name} {tuple(one.shape)}" for one in outputs)
            raise _refuse(path, f"its output is {told}, and its list has {tags} tags")
        batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        device = PROVIDERS[session.get_providers()[0]]
        return cls(path, session, inputs[0].name, shape[1], batch, tags, device)

    def score(self, files: Sequence[Path]) -> np.ndarray:
        """How sure it is of each tag, (N, tags), in [0, 1].

        Raises:
            UserError: a picture cannot be read; the network fails, or is of another form.
        """
        pictures = (read_picture(file, "run the stage `prepare` again") for file in files)
        values = np.stack([fit_picture(picture, self.side) for picture in pictures])
        try:
            (scores,) = self.session.run(None, {self.input: values})
        except Exception as error:  # as above
            raise _refuse(self.path, f"it fails: {str(error).splitlines()[0]}") from error
        if scores.shape != (len(files), self.tags):
            raise _refuse(self.path, f"it gives {scores.shape} for {len(files)} pictures and {self.tags} tags")
        # What is no number is sure of nothing; a network without its last step gives less than 0 and more than 1.
        if np.nanmin(scores, initial=0) < -ROUNDING or np.nanmax(scores, initial=0) > 1 + ROUNDING:
            raise _refuse(self.path, "what it gives is not from 0 to 1")
        return np.nan_to_num(np.asarray(scores, dtype=np.float32))


def fit_picture(picture: Image.Image, side: int) -> np.ndarray:
    """An RGB picture as a network takes it: (side, side, 3) float32, blue first, from 0 to 255.

    A larger one is averaged, as sd-scripts does, a smaller one enlarged by Lanczos's filter.
    """
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), WHITE)
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    filtered = square.resize((side, side), Resampling.BOX if longest >= side else Resampling.LANCZOS)
    return np.asarray(filtered, dtype=np.float32)[:, :, ::-1]


def _refuse(path: Path, what: str) -> UserError:
    return UserError(f"no tagger that can be used: {what}", where=path, fix=FORM)
