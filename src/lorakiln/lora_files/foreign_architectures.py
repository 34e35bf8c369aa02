"""LoRAs of other architectures, told by the names of their layers."""

import re
from collections.abc import Iterable
from pathlib import Path

from lorakiln.console.errors import UserError

# In order: what several have in common comes after what only one has. Dots are underscores in kohya's names.
_SIGNS = (
    (r"(^|[._])(single_transformer_blocks|double_blocks|single_blocks)[._]", "Flux"),
    (r"(^|[._])joint_blocks[._]|attn2?[._]add_[qkv]_proj|^lora_te3_|^text_encoder_3\.", "Stable Diffusion 3"),
    (r"(^|[._])(noise_refiner|context_refiner)[._]", "Lumina 2 or Z-Image"),
    (r"motion_modules|temp_attentions|temporal_transformer", "a network that draws videos (AnimateDiff or another)"),
    (r"^lora_prior_", "Stable Cascade"),
    (r"^(lora_)?transformer[._]", "a diffusion transformer (Flux, Stable Diffusion 3 or another)"),
    (
        r"(^|\.|^lora_unet_)blocks[._]\d+[._](self_attn|cross_attn|attn)",
        "a diffusion transformer (Wan, Anima or another)",
    ),
    (r"(^|[._])(model[._])?layers[._]\d+[._](self_attn|mlp)[._](q|k|v|o|gate|up|down)_proj", "a language model"),
    (r"(encoder[._]block|SelfAttention|DenseReluDense)", "a T5 text encoder"),
)


def check_architecture(strange: Iterable[str], path: Path) -> None:
    """Refuse a file with layers that no Stable Diffusion has.

    Args:
        strange: the names, as in the file, of those that Stable Diffusion 1.x, 2.x and XL have not.

    Raises:
        UserError: there are such layers; it says whose they are, as far as their names show it.
    """
    strange = sorted(strange)
    if not strange:
        return
    count = f"{len(strange)} of its layers {'is' if len(strange) == 1 else 'are'} none of Stable Diffusion's"
    raise UserError(
        f"this is a LoRA for {name_architecture(strange)}: {count}, {', '.join(strange[:3])}",
        where=path,
        fix="LoRAs for Stable Diffusion 1.x, 2.x and XL are read: use the program that it was made for",
    )


def name_architecture(names: Iterable[str]) -> str:
    """Whose layers these are, in words."""
    names = list(names)
    for sign, title in _SIGNS:
        if any(re.search(sign, name) for name in names):
            return title
    return "another architecture"
