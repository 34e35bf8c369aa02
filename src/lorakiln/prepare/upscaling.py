"""Small pictures are enlarged by a network of the user's, an ONNX file as Real-ESRGAN's or SwinIR's, before all else.

The form: one input (1, 3, H, W), RGB from 0 to 1, sides fixed or free; one output (1, 3, s H, s W) of the same, s being
the network's factor. A picture is given to it in squares that overlap, mirrored at its edges, as Real-ESRGAN's own
tiles are (xinntao/Real-ESRGAN, realesrgan/utils.py).
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from lorakiln.prepare.onnx_files import OnnxFile
from lorakiln.schema.prepare import UpscaleSettings

OVERLAP = 16  # pixels of each edge of a square that are looked at and not kept
STEP = 8  # sides that are free are multiples of it: SwinIR's windows
FORM = (
    "an upscaler of Real-ESRGAN's form: an input (1, 3, H, W), RGB from 0 to 1, an output some whole times as wide and "
    "high; see docs/augmentation.md"
)
GREY = 0.5


@dataclass(frozen=True)
class Upscaler:
    """Can be sent to other processes.

    Attributes:
        file: the network.
        factor: how many times as wide and high it makes a picture.
        sides: (height, width) of what it takes; None: any.
        tile: of squares that it is given at most, where its sides are free; pixels.
    """

    file: OnnxFile
    factor: int
    sides: tuple[int, int] | None
    tile: int

    @classmethod
    def of(cls, settings: UpscaleSettings) -> "Upscaler | None":
        """The settings' upscaler, tried once on a grey picture; None if they name none.

        Raises:
            UserError: the file is not there, or of another form; onnxruntime is not installed.
        """
        if settings.network is None:
            return None
        file = OnnxFile.of("prepare.upscale.network", settings.network, "upscaler", FORM)
        _, channels, *sides = file.shape
        fixed = all(isinstance(side, int) and side > 2 * OVERLAP for side in sides)
        if channels != 3 or not (fixed or not any(isinstance(side, int) for side in sides)):
            raise file.refuse(f"its input has the shape {file.shape}")
        height, width = sides if fixed else (64, 64)
        outputs = file.run(np.full((1, 3, height, width), GREY))
        shape = outputs[0].shape
        factor = shape[-1] // width if len(shape) == 4 else 0
        if len(outputs) != 1 or factor < 2 or shape != (1, 3, height * factor, width * factor):
            shapes = ", ".join(str(one.shape) for one in outputs)
            raise file.refuse(f"of a picture (1, 3, {height}, {width}) it makes {shapes}")
        if not GREY / 2 < (mean := float(outputs[0].mean())) < 3 * GREY / 2:
            raise file.refuse(f"of a picture that is {GREY} everywhere it makes one with the mean {mean:.3g}")
        return cls(file, factor, (height, width) if fixed else None, settings.tile)

    def enlarge(self, image: Image.Image) -> Image.Image:
        """RGB, `factor` times as wide and high.

        Raises:
            UserError: the network fails.
        """
        values = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
        height, width = values.shape[1:]
        most = (self.tile // STEP * STEP,) * 2
        steps = [
            (side if self.sides else min(side, -(-length // STEP) * STEP + 2 * OVERLAP)) - 2 * OVERLAP
            for side, length in zip(self.sides or most, (height, width), strict=True)
        ]
        counts = [-(-length // step) for length, step in zip((height, width), steps, strict=True)]
        room = [
            (OVERLAP, count * step - length + OVERLAP)
            for count, step, length in zip(counts, steps, (height, width), strict=True)
        ]
        padded = np.pad(values, [(0, 0), *room], mode="symmetric")
        made = np.empty((3, *(count * step * self.factor for count, step in zip(counts, steps, strict=True))), np.uint8)
        for row in range(counts[0]):
            for column in range(counts[1]):
                top, left = row * steps[0], column * steps[1]
                tile = padded[:, top : top + steps[0] + 2 * OVERLAP, left : left + steps[1] + 2 * OVERLAP]
                edge = OVERLAP * self.factor
                kept = self.file.run(tile[None])[0][0, :, edge:-edge, edge:-edge]
                rows = slice(top * self.factor, (top + steps[0]) * self.factor)
                columns = slice(left * self.factor, (left + steps[1]) * self.factor)
                made[:, rows, columns] = np.rint(kept.clip(0, 1) * 255)
        made = made[:, : height * self.factor, : width * self.factor]
        return Image.fromarray(np.ascontiguousarray(made.transpose(1, 2, 0)))
