"""Work that nobody waits for any more ends: a killed `dvc repro` or torchrun leaves no training behind."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from lorakiln.console.exit_signals import asked

INTERVAL = 1.0  # seconds between looks
SHELLS = ("sh", "dash", "bash", "zsh", "ksh", "fish")


def end_with_starter() -> None:
    """If `dvc` or torchrun runs this process, have it end as by SIGTERM when that ends: killed alone, either leaves
    behind what it has started.

    A shell may stand between `dvc` and this process; where it does not, the parent is `dvc`, whose own parent may well
    end first (`nohup dvc repro &` in a terminal that is closed). torchrun starts its processes itself.
    """
    if os.environ.get("DVC_STAGE"):
        end_with_parents(2 if _name_of(os.getppid()) in SHELLS else 1)
    elif os.environ.get("TORCHELASTIC_RUN_ID"):
        end_with_parents(1)


def end_with_parents(generations: int, patience: float | None = None) -> None:
    """Have this process end as by SIGTERM when an ancestor ends.

    Args:
        generations: how many ancestors; 1 is the parent alone.
        patience: seconds after which it ends in any case; None: it may take its time.
    """
    before = ancestors(generations)
    threading.Thread(target=_follow, args=(before, patience), name="follows-parents", daemon=True).start()


def ancestors(generations: int) -> list[int]:
    """Process numbers of the parent, its parent, ...; as many as the system tells."""
    found = [os.getppid()]
    while len(found) < generations and (parent := _parent_of(found[-1])):
        found.append(parent)
    return found


def _follow(before: list[int], patience: float | None) -> None:
    while ancestors(len(before)) == before:
        time.sleep(INTERVAL)
    if not asked:  # else both were asked together, and another signal would cut short what is being saved
        print("the process that started this one has ended: it ends too", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
    if patience is not None:
        time.sleep(patience)
        os._exit(128 + signal.SIGTERM)


def _name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _parent_of(process: int) -> int:
    try:
        # The name, in brackets, may hold spaces; after it come the state and the parent.
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):  # ended, or no Linux
        return 0
