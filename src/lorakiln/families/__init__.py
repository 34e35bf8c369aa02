"""Model families: everything that differs between Stable Diffusion's generations behind one protocol.

A family is a folder here and is found by its name; what the folder has to hold is `kinds.FamilyKind`. Its models'
settings are conf/model/<name>.yaml. Nothing else is edited to add one, and nothing outside asks which family it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lorakiln.families.kinds import FamilyKind
    from lorakiln.families.protocol import Family, Part
    from lorakiln.schema.model import ModelSettings


def load_family(
    model: ModelSettings,
    parts: Collection[Part] = ("vae", "text", "network"),
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    text_dtype: torch.dtype | None = None,
) -> Family:
    """Load the base model, frozen and in evaluation mode.

    Args:
        model: family, path, revision, variant and VAE.
        parts: what to load; the others raise AttributeError when touched.
        device: null is the CPU.
        dtype: of the weights of all parts; null is float32.
        text_dtype: of the text encoders' weights; null: as the others. See `families.protocol.choose_text_dtype`.

    Raises:
        UserError: the model is not there, cannot be reached, is of another kind, has no safetensors weights,
            or has weights that are not finite.
    """
    import torch

    from lorakiln.schema.model import FAMILIES

    dtype = dtype or torch.float32
    kind: FamilyKind = FAMILIES.find(model.family)
    return kind.load(model, frozenset(parts), device or torch.device("cpu"), dtype, text_dtype or dtype)
