"""Drawing pictures with a base model and whatever adapter is on it, and saying in the file how they were drawn."""

from lorakiln.sampling.draw import Job, draw
from lorakiln.sampling.infotext import infotext, save_picture

__all__ = ["Job", "draw", "infotext", "save_picture"]
