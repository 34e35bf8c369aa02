"""Run a sweep's jobs with an executor: the plan first, then a line for each end."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from lorakiln.artefacts.disk import size
from lorakiln.sweep.executor import Executor
from lorakiln.sweep.jobs import LOG, Job, Outcome
from lorakiln.sweep.plan import folder_bytes, in_time, plan

POLL = 0.2  # seconds


def run_jobs(jobs: Sequence[Job], root: Path, executor: Executor) -> list[Outcome]:
    """Run what is not finished yet; one failing job does not sink the others.

    A job that was interrupted goes on from its last checkpoint, since `train` finds it by the settings.

    Returns:
        In the jobs' order.

    Raises:
        SystemExit: a signal stopped the sweep; the running jobs have saved their state.
    """
    width = executor.width(jobs)
    print(plan(jobs, root, width), flush=True)
    teller, outcomes = Teller(len(jobs)), {}
    with executor.stop.listening(), ThreadPoolExecutor(max(1, min(width, len(jobs)))) as pool:
        numbers = {pool.submit(executor.run, job): place for place, job in enumerate(jobs)}
        for future in as_they_end(numbers):
            outcomes[numbers[future]] = future.result()
            teller.tell(future.result())
    executor.stop.exit_if_asked()
    return [outcomes[place] for place in range(len(jobs))]


def as_they_end(futures: Iterable[Future]) -> Iterator[Future]:
    """The futures in the order of their ends.

    Python runs signal handlers in the main thread, and a signal that another thread has received (Ray's take them) does
    not wake it: so it wakes up by itself.
    """
    left = set(futures)
    while left:
        done, left = wait(left, timeout=POLL, return_when=FIRST_COMPLETED)
        yield from done


class Teller:
    """Says how each job ended, and how long the rest may take.

    Args:
        total: jobs in all.
    """

    def __init__(self, total: int) -> None:
        self.total, self._ended, self._run, self._began = total, 0, 0, time.monotonic()
        self._disk = 0

    def tell(self, outcome: Outcome, more: str = "") -> None:
        """Print a line; `more` stands at its end."""
        self._ended += 1
        self._run += outcome.status != "skipped"
        said = {
            "finished": f"finished in {in_time(outcome.seconds)}", "skipped": "finished before", "failed": "FAILED",
            "pruned": "pruned", "stopped": "stopped",
        }[outcome.status]  # fmt: skip
        text = f"sweep {self._ended}/{self.total}  {outcome.job.title}: {said}{more}"
        left = self.total - self._ended
        if self._run and left > 0:
            self._disk = max(self._disk, folder_bytes(outcome.job.folder))
            seconds = (time.monotonic() - self._began) / self._run * left
            text += f"; about {in_time(seconds)} and {size(self._disk * left)} left"
        if outcome.reason:
            text += f"\n  {outcome.reason}"
        if outcome.status == "failed":
            text += f"\n  log: {outcome.job.folder / LOG}"
        print(text, flush=True)
