"""Optimizers, one file a kind, found by name; what they work on, and their state; learning-rate schedules."""

from collections.abc import Mapping
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.optim.protocol import OptimizerKind
from lorakiln.schema.optimizers import OPTIMIZERS, OptimizerSettings


def find_optimizer(settings: OptimizerSettings) -> OptimizerKind:
    """The code of the kind whose settings these are."""
    kind: OptimizerKind = OPTIMIZERS.find(settings.kind)
    return kind


def kohya_name(settings: Mapping[str, Any]) -> str:
    """What ss_optimizer in a file's metadata says of the settings train.optimizer of a finished run.

    Raises:
        UserError: its kind of optimizer is not installed here.
    """
    kind = settings["kind"]
    if kind not in OPTIMIZERS.names:
        raise UserError(
            f"the run was trained with the optimizer {kind!r}; here there are: {', '.join(OPTIMIZERS.names)}",
            fix="install the package that adds it, as it was where the run was trained",
        )
    known = OPTIMIZERS.settings(kind).model_validate(settings)
    assert isinstance(known, OptimizerSettings)  # the registry takes no others
    found: OptimizerKind = OPTIMIZERS.find(kind)
    return found.kohya_name(known)
