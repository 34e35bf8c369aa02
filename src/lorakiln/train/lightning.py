"""Lightning, as `pl`: by this name alone the training imports it, so that it brings no more than is needed."""

from typing import TYPE_CHECKING

from lorakiln.libraries import import_lightning

if TYPE_CHECKING:
    import lightning.pytorch as pl
else:
    pl = import_lightning()

__all__ = ["pl"]
