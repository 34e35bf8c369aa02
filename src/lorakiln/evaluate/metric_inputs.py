"""What the metrics look at: drawn and training pictures, with what CLIP and the likeness model make of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lorakiln.console.errors import UserError
from lorakiln.evaluate.clip import Clip
from lorakiln.evaluate.likeness_model import LikenessModel
from lorakiln.evaluate.picture_model import PictureModel
from lorakiln.metrics import Alter, MetricInputs, Shot
from lorakiln.rows import read_captioned
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings

# A large dataset is judged by so many of its pictures, evenly spaced by name.
MOST_REFERENCES = 1000


@dataclass(frozen=True)
class PictureModels:
    """The models that look at pictures: CLIP, and one that tells likeness, which may be CLIP, too."""

    clip: Clip
    likeness: PictureModel

    @classmethod
    def load(cls, model: ModelSettings, settings: EvaluateSettings, device: torch.device) -> "PictureModels":
        """Load both in float32.

        Raises:
            UserError: see `Clip.load` and `LikenessModel.load`.
        """
        clip = Clip.load(model.clip, device)
        return cls(clip, clip if settings.likeness is None else LikenessModel.load(settings.likeness, device))

    def to(self, device: torch.device) -> "PictureModels":
        """Themselves, on a device.

        Raises:
            UserError: there is no memory for them.
        """
        clip = self.clip.to(device)
        return PictureModels(clip, clip if self.likeness is self.clip else self.likeness.to(device))


def gather_inputs(
    models: PictureModels, shots: Sequence[Shot], samples: Path, captioned: Path, held_out: Collection[str] = ()
) -> MetricInputs:
    """What the metrics look at: drawn pictures and the training pictures, with what CLIP makes of them.

    Args:
        held_out: names of the training pictures that were kept for validation.

    Raises:
        UserError: a model gives numbers that are not finite.
    """
    names = sorted(row.file_name for row in read_captioned(captioned) if not row.is_reg)
    some = names[:: -(-len(names) // MOST_REFERENCES)]
    trained = [captioned / name for name in some]
    files = [samples / shot.file_name for shot in shots]
    embeddings, references = _look(models.clip, files, trained, "model.clip")
    clip, looks = models.clip, None
    if models.likeness is not clip:
        looks = _look(models.likeness, files, trained, "evaluate.likeness")
    return MetricInputs(
        shots,
        embeddings,
        references,
        clip.texts,
        files,
        trained,
        partial(_embed_altered, clip),
        models.likeness.parts,
        frozenset(row for row, name in enumerate(some) if name in held_out),
        looks,
    )


def _look(
    model: PictureModel, files: Sequence[Path], trained: Sequence[Path], setting: str
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the drawn and of the training pictures."""
    known = model.pictures(trained, title="training pictures")
    drawn = model.pictures(files)
    if not (np.isfinite(known).all() and np.isfinite(drawn).all()):
        raise UserError(f"{model.title} gives numbers that are not finite", where=setting, fix="use another one")
    return drawn, known


def _embed_altered(clip: Clip, files: Sequence[Path], alter: Alter) -> np.ndarray:
    return clip.pictures(files, title="whether they show something", alter=alter)
