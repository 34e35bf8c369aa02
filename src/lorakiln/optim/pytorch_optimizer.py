"""Any optimizer of the library pytorch-optimizer that needs no more than gradients."""

import difflib
import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch.optim import Optimizer

from lorakiln.console.errors import UserError
from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers.pytorch_optimizer import REFUSED, PytorchOptimizerSettings

ELEMENTWISE = False
MASKED = False


def build(groups: Sequence[dict[str, Any]], settings: PytorchOptimizerSettings) -> Optimizer:
    """See `OptimizerKind`.

    Raises:
        UserError: the library is not installed, has none of this name, or it takes other arguments.
    """
    kind, where = find_class(settings.name), "train.optimizer.args"
    # Most of them take what they do not know, and leave it at that.
    known = [name for name in inspect.signature(kind).parameters if name not in ("params", "lr", "kwargs")]
    if unknown := sorted(set(settings.args) - set(known)):
        raise UserError(f"{kind.__name__} has no {unknown[0]}", where=where, fix=f"it has: {', '.join(known)}")
    try:
        made: Optimizer = kind(list(groups), lr=settings.lr, **_list_arguments(settings))
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"{kind.__name__} refuses {settings.args}: {error}", where=where) from error
    if hasattr(made, "train"):  # it begins with the weights that are to be used, not with those that are trained
        made.train()
    return made


def find_class(name: str) -> Any:
    """The library's class of this name.

    Raises:
        UserError: the library is not installed, or has none of this name.
    """
    library = _import()
    names = [one for one in library.get_supported_optimizers() if not any(one in given for given in REFUSED.values())]
    if name.lower() not in names:
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5) or names
        raise UserError(
            f"pytorch-optimizer has no {name!r}", where="train.optimizer.name", fix=f"one of: {', '.join(near)}"
        )
    return library.load_optimizer(name)


def _import() -> ModuleType:
    try:
        return importlib.import_module("pytorch_optimizer")
    except ImportError as error:
        raise UserError(
            "pytorch-optimizer is not installed",
            where="train/optimizer=pytorch_optimizer",
            fix="pip install 'lorakiln[optimizers]'",
        ) from error


def _list_arguments(settings: PytorchOptimizerSettings) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.args.items()}


def kohya_name(settings: PytorchOptimizerSettings) -> str:
    """See `OptimizerKind`: where the library is not installed, by its name for the class."""
    try:
        kind = find_class(settings.name)
    except UserError:
        named = f"pytorch_optimizer.{settings.name}"
    else:
        named = f"{kind.__module__}.{kind.__name__}"
    return format_class(named, settings, name=None, args=None, **settings.args)
