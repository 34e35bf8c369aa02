"""The validation losses of a run that is still going, for a search in another process that ends hopeless runs."""

import contextlib
import os
from pathlib import Path

LIVE = "LORAKILN_LIVE_VALIDATION"  # the environment variable that names the file; without it nothing is written


def append_live_loss(step: int, loss: float) -> None:
    """Append "step loss" to the file that the environment names, if it names one."""
    if path := os.environ.get(LIVE):
        # Whoever watches can do without it; the training goes on.
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{step} {loss!r}\n")


def read_live_losses(path: Path) -> list[tuple[int, float]]:
    """(step, loss) of every whole line, in the order written; none if there is no file yet."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    # What is not ended by a newline is still being written.
    rows = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
    return [(int(step), float(loss)) for step, loss in rows]
