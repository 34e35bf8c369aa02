"""What a drawn picture depends on beside its prompt, seed and LoRA: an equal key, an equal picture."""

import torch

from lorakiln.artefacts.code_digest import compute_code_key
from lorakiln.console.errors import UserError
from lorakiln.evaluate.drawing import ShotDrawer
from lorakiln.evaluate.drawing_checks import check_drawing
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import RunFacts
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import choose_drawing_dtype
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings

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
