"""How much disk a run takes."""

from lorakiln.optim.state import state_bytes
from lorakiln.train.assembly import Run
from lorakiln.train.checkpoint import KEPT
from lorakiln.train.due import due_after

WEIGHT = 4  # bytes, float32
PIXEL = 3  # bytes, before a PNG makes them fewer


def run_bytes(run: Run, pictures: int) -> int:
    """Adapters and samples of the whole run, in bytes, about.

    Args:
        pictures: of one round of samples.
    """
    settings = run.settings
    due = [due_after(step, settings) for step in range(1, settings.steps + 1)]
    adapters, rounds = sum(entry.adapter for entry in due), sum(entry.samples for entry in due)
    return adapters * run.kiln.flat.count * WEIGHT + rounds * pictures * run.model.resolution**2 * PIXEL


def checkpoint_bytes(run: Run) -> int:
    """The checkpoints that are there at once, the one being written included."""
    return (KEPT + 1) * (run.kiln.flat.count * WEIGHT + state_bytes(run.kiln.build_optimizer, run.kiln.optimizer))
