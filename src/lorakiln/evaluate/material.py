"""What is drawn how, and what the metrics look at: shared by all that draw and measure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorakiln.artefacts.code_digest import compute_code_key
from lorakiln.console.errors import UserError
from lorakiln.evaluate.clip import Clip
from lorakiln.evaluate.drawing import ShotDrawer
from lorakiln.evaluate.drawing_checks import check_drawing
from lorakiln.evaluate.likeness_model import LikenessModel
from lorakiln.evaluate.picture_model import PictureModel
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import RunFacts
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import choose_drawing_dtype
from lorakiln.metrics import Alter, Material, Scored, Shot
from lorakiln.rows import read_captioned
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings

# A large dataset is judged by so many of its pictures, evenly spaced by name.
MOST_REFERENCES = 1000
PIXEL = 3  # bytes, before a PNG makes them fewer


def describe_drawing(
    facts: LoraFacts | RunFacts,
    settings: EvaluateSettings,
    model: ModelSettings,
    device: torch.device,
    encoding: PromptEncoding,
) -> tuple[tuple[int, int], str]:
    """What `describe_pictures` says, of a LoRA that is known to be this base model's.

    Raises:
        UserError: the base is not the one that was trained on, or see `check_drawing`.
    """
    if check_drawing(settings, model).facts["hash"] != facts.base.hash:
        raise UserError(
            f"the LoRA was trained on another base model, {facts.base.path}",
            where=f"model.path = {model.path}",
            fix="evaluate it on that one, or train on this one",
        )
    return describe_pictures(settings, model, device, encoding, facts.zero_terminal_snr)


def describe_pictures(
    settings: EvaluateSettings,
    model: ModelSettings,
    device: torch.device,
    encoding: PromptEncoding,
    zero_terminal_snr: bool,
) -> tuple[tuple[int, int], str]:
    """The size of every picture, width and height in pixels; and all that a picture depends on beside the settings, the
    prompt, the seed and the LoRA.

    Args:
        zero_terminal_snr: whether it is drawn by a noise schedule that ends without signal.

    Raises:
        UserError: see `check_drawing`.
    """
    family = check_drawing(settings, model)
    base, code = family.facts, compute_code_key(ShotDrawer, type(family))
    size = settings.width or model.resolution, settings.height or model.resolution
    # Another device or precision draws other bits.
    drawn_by = f"{code} {base['hash']} {device.type} {choose_drawing_dtype(device, settings.precision)} {encoding}"
    return size, drawn_by + (" zero terminal SNR" if zero_terminal_snr else "")


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


def gather_material(
    models: PictureModels, shots: Sequence[Shot], samples: Path, captioned: Path, held_out: Collection[str] = ()
) -> Material:
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
    return Material(
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


def make_row(item: Scored) -> dict[str, Any]:
    """A line of samples/metadata.jsonl, by which the picture is found again."""
    shot = item.shot
    values = {name: None if value is None else round(value, 6) for name, value in item.values.items()}
    return {
        "file_name": shot.file_name,
        "prompt": shot.text,
        "seed": shot.seed,
        "weight": shot.weight,
        "with_trigger": shot.with_trigger,
        **values,
        "key": shot.key,
    }
