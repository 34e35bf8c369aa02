"""How much disk a run takes."""

from lorakiln.optim.state import state_bytes
from lorakiln.train.assembly import TrainingRun
from lorakiln.train.checkpoint import KEPT
from lorakiln.train.due_work import find_due_work

WEIGHT = 4  # bytes, float32
PIXEL = 3  # bytes, before a PNG makes them fewer


def estimate_run_bytes(run: TrainingRun, pictures: int) -> int:
    """Adapters and samples of the whole run, in bytes, about.

    Args:
        pictures: of one round of samples.
    """
    settings = run.settings
    due = [find_due_work(step, settings, run.epoch) for step in range(1, settings.total_steps + 1)]
    adapters, rounds = sum(entry.adapter for entry in due), sum(entry.samples for entry in due)
    if settings.keep_last is not None:
        adapters = min(adapters, settings.keep_last + 1)  # the best is one more
    adapters += settings.keeps_best
    adapters *= 2 if run.module.average else 1
    return adapters * run.module.flat.count * WEIGHT + rounds * pictures * run.model.resolution**2 * PIXEL


def estimate_checkpoint_bytes(run: TrainingRun) -> int:
    """The checkpoints that are there at once, the one being written included."""
    weights = run.module.flat.count * WEIGHT * (2 if run.module.average else 1)
    return (KEPT + 1) * (weights + state_bytes(run.module.build_optimizer, run.module.optimizer))
