"""The settings for pictures of a subset that has rules of its own; where a picture's bucket is, `buckets` says."""

from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.subset_rules import adapt_face
from lorakiln.sources import Subset

# By whether the alpha channel is a mask what `prepare.masks` comes to, where files are taken and where they are not.
BY_ALPHA = {(True, True): "auto", (True, False): "alpha", (False, True): "files", (False, False): "none"}


def adapt_settings(settings: PrepareSettings, subset: Subset) -> PrepareSettings:
    """What is another for the subset's pictures: its masks, and what crops need. Of crops that the subset alone wants
    the picture before its crop is kept, without a margin where the settings have none.

    Raises:
        UserError: crops around faces, and there is no detector; what it says cannot be.
    """
    own, crop = subset.pictures, subset.rules.augment.get("crop", "centre")
    changes: dict[str, object] = {}
    if own.alpha_mask is not None:
        changes["masks"] = BY_ALPHA[own.alpha_mask, settings.masks in ("auto", "files")]
    if crop != "centre" and settings.margin is None:
        changes["margin"] = 0.0
    if crop == "face" and settings.face.detector is None:
        fix = "name one in prepare.face.detector (docs/augmentation.md), or take other crops there"
        raise UserError("crops around faces, and nothing finds any", where=subset.where, fix=fix)
    if own.face:
        try:
            changes["face"] = adapt_face(settings.face, own.face)
        except ConfigError as error:
            raise UserError("; ".join(error.problems), where=subset.where, fix="mend it there") from error
    return settings.model_copy(update=changes)
