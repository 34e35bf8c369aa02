"""Libraries that only some settings need: loaded when one of these is chosen, and not by others who find them there."""

import importlib
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lorakiln.console.errors import UserError

BITSANDBYTES = "bitsandbytes"


def import_bitsandbytes(setting: str) -> Any:
    """The library, which `lorakiln` hides from all others: diffusers and peft would load it wherever it is installed.

    Args:
        setting: what needs it, as the user has written it.

    Raises:
        UserError: it is not installed, or cannot be loaded.
    """
    if sys.modules.get(BITSANDBYTES) is None:
        sys.modules.pop(BITSANDBYTES, None)
        # Of faster kernels for some processors, which it would fetch from the hub if it could.
        logging.getLogger(BITSANDBYTES).setLevel(logging.ERROR)
    try:
        return importlib.import_module(BITSANDBYTES)
    except ImportError as error:
        hide_bitsandbytes()
        missing = isinstance(error, ModuleNotFoundError) and error.name == BITSANDBYTES
        what = "bitsandbytes is not installed" if missing else f"bitsandbytes cannot be loaded ({error})"
        raise UserError(what, where=setting, fix='pip install "lorakiln[quantized]"') from error


def import_onnxruntime(setting: str, fix: str = 'pip install "lorakiln[faces]"') -> Any:
    """The library that runs ONNX files.

    Args:
        setting: what needs it, as the user has written it.
        fix: what installs it, for the message.

    Raises:
        UserError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime"
        what = "onnxruntime is not installed" if missing else f"onnxruntime cannot be loaded ({error})"
        raise UserError(what, where=setting, fix=fix) from error


def import_pyarrow(needed_by: str) -> Any:
    """The library that reads tables, with its `parquet`.

    Args:
        needed_by: what needs it, for the message.

    Raises:
        UserError: it is not installed, or cannot be loaded.
    """
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise UserError(
            f"tables are read by pyarrow ({error})", where=needed_by, fix='pip install "lorakiln[tables]"'
        ) from error


def import_lightning() -> Any:
    """`lightning.pytorch`.

    Torchmetrics, which it imports, loads of other libraries whatever is installed, for metrics that nobody here asks it
    for: matplotlib, transformers, torchvision, onnxruntime, ... That would be a fourth of a training's start, so it is
    told that none of them is there.
    """
    if "torchmetrics" not in sys.modules:
        with _finding_only("torch", "numpy"):
            importlib.import_module("torchmetrics")
    return importlib.import_module("lightning.pytorch")


@contextmanager
def _finding_only(*names: str) -> Iterator[None]:
    """Within it Lightning's and torchmetrics' way of asking what is installed finds these distributions alone.

    Where a later version asks in another way, all are found.
    """
    from lightning_utilities.core.imports import RequirementCache

    look = getattr(RequirementCache, "_check_available", None)
    if look is None:
        yield
        return

    def look_for_these(cache: RequirementCache) -> None:
        if re.split(r"[^\w-]", cache.requirement or "")[0] in names:
            look(cache)
        else:
            cache.available, cache.message = False, f"{cache.requirement or cache.module}: not looked for"

    RequirementCache._check_available = look_for_these  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        RequirementCache._check_available = look  # type: ignore[method-assign]


def hide_bitsandbytes() -> None:
    """Whoever looks for the library does not find it, until `import_bitsandbytes`."""
    sys.modules[BITSANDBYTES] = None  # type: ignore[assignment] # how Python spells it
