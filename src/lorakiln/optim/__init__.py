"""Optimizers, one file a kind, found by name; what they work on, and their state; learning-rate schedules."""

from lorakiln.optim.protocol import OptimizerKind
from lorakiln.schema.optimizers import OPTIMIZERS, OptimizerSettings


def find_optimizer(settings: OptimizerSettings) -> OptimizerKind:
    """The code of the kind whose settings these are."""
    kind: OptimizerKind = OPTIMIZERS.find(settings.kind)
    return kind


def kohya_name(settings: OptimizerSettings) -> str:
    """What ss_optimizer in a file's metadata says of the settings train.optimizer of a run."""
    return find_optimizer(settings).kohya_name(settings)
