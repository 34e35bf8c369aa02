"""Drawing pictures with a base model and whatever adapter is on it, and saying in the file how they were drawn."""

from lorakiln.sampling.draw import Job, check_steps, draw
from lorakiln.sampling.infotext import Applied, infotext, save_picture

__all__ = ["Applied", "Job", "check_steps", "draw", "infotext", "save_picture"]
