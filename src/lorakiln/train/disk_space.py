"""How much disk a run takes."""

from lorakiln.optim.state import count_state_bytes
from lorakiln.train.assembly import TrainingRun
from lorakiln.train.checkpoint import KEPT
from lorakiln.train.length import count_due

WEIGHT = 4  # bytes, float32
PIXEL = 3  # bytes, before a PNG makes them fewer


def estimate_run_bytes(run: TrainingRun, pixels: int) -> int:
    """Adapters and samples of the whole run, in bytes, about.

    Args:
        pixels: of all pictures of one round of samples.
    """
    settings = run.settings
    before = settings.total_steps - 1  # after the last there is one of each
    adapters = count_due(before, settings.save_every, run.epoch) + 1
    rounds = count_due(before, settings.samples.every, run.epoch) + 1 if settings.samples.every else 0
    if settings.keep_last is not None:
        adapters = min(adapters, settings.keep_last + 1)  # the best is one more
    adapters += settings.keeps_best
    adapters *= 2 if run.module.average else 1
    return adapters * run.module.flat.count * WEIGHT + rounds * pixels * PIXEL


def estimate_checkpoint_bytes(run: TrainingRun) -> int:
    """The checkpoints that are there at once, the one being written included."""
    weights = run.module.flat.count * WEIGHT * (2 if run.module.average else 1)
    return (KEPT + 1) * (weights + count_state_bytes(run.module.build_optimizer, run.module.optimizer))
