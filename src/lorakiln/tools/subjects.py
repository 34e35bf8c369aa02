"""What is learned of pictures; each has its recipe, see `tools.proposal`."""

from typing import Literal, get_args

Subject = Literal["character", "style", "pose", "concept"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)
