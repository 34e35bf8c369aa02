"""dataset.yaml, our own config of a dataset: what its folders are, how large and by which rules each is trained."""

from typing import Annotated

from pydantic import Field

from lorakiln.schema.base import MANY
from lorakiln.schema.marks import Private
from lorakiln.schema.subset_rules import FocusRules, PictureRules, SubsetRules

Folder = Annotated[str, Field(min_length=1, max_length=1000), Private.PATH]


class SubsetDefaults(SubsetRules, FocusRules):
    """What may be said of one subset, of all of a dataset's, or of all.

    Attributes:
        repeats: how often an epoch shows each picture; 0: the subset is not used.
        class_tokens: the caption of pictures that have none.
        extension: of the caption files.
    """

    repeats: int | None = Field(None, ge=0, le=MANY)
    class_tokens: Annotated[str | None, Private.WORDS] = Field(None, max_length=1000)
    extension: Annotated[str | None, Private.NO] = Field(None, pattern=r"^\.[^/\\\s]+$", max_length=50)


class SubsetConfig(SubsetDefaults):
    """The pictures of a folder.

    Attributes:
        folder: a path in the dataset's, "." its own.
        masks: the folder of their masks.
        is_reg: whether they are for regularisation.
    """

    folder: Folder
    masks: Folder | None = None
    is_reg: bool = False


class PartConfig(SubsetDefaults, PictureRules):
    """Subsets of one size."""

    subsets: list[SubsetConfig] = Field(min_length=1)


class DatasetConfig(SubsetDefaults, PictureRules):
    """The whole file; what stands above holds below, unless it says otherwise."""

    datasets: list[PartConfig] = Field(min_length=1)
