"""Noise processes: a file for each kind. Which one a base was trained by, its scheduler's config says.

A new kind is one new file here with what `process.ProcessKind` asks for: `SCHEDULERS` and `make_process`.
"""

from collections.abc import Mapping
from typing import Any

from lorakiln.diffusion.process import Process, ProcessKind
from lorakiln.schema.registry import Registry

PROCESSES: Registry[ProcessKind] = Registry("noise process", code="lorakiln.diffusion.processes")
USUAL = "ddpm"  # the schedulers of no other kind sample this one


def make_process(config: Mapping[str, Any], where: object = None) -> Process:
    """The noise process of a base, on the CPU.

    Args:
        config: scheduler_config.json.
        where: its file, for messages.

    Raises:
        UserError: the config says what its process cannot be.
    """
    scheduler = config.get("_class_name")
    kinds = (PROCESSES.find(name) for name in PROCESSES.names)
    kind = next((one for one in kinds if scheduler in one.SCHEDULERS), None) or PROCESSES.find(USUAL)
    return kind.make_process(config, where)
