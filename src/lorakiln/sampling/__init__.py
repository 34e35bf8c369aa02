"""Drawing pictures with a base model and whatever adapter is on it, and saying in the file how they were drawn."""

from lorakiln.sampling.draw import DrawJob, check_steps, draw, follow_noise_schedule
from lorakiln.sampling.infotext import Applied, add_lora, format_infotext, save_picture

__all__ = [
    "Applied",
    "DrawJob",
    "add_lora",
    "check_steps",
    "draw",
    "follow_noise_schedule",
    "format_infotext",
    "save_picture",
]
