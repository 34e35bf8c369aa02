"""Run a sweep's jobs with an executor: the plan first, then a line for each end."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from lorakiln.artefacts.disk import format_size
from lorakiln.sweep.cost_estimate import estimate_cost
from lorakiln.sweep.executor import Executor
from lorakiln.sweep.jobs import LOG, Job, Outcome
from lorakiln.sweep.plan import format_plan, format_time

POLL = 0.2  # seconds

Done = TypeVar("Done")


def run_jobs(jobs: Sequence[Job], root: Path, executor: Executor) -> list[Outcome]:
    """Run what is not finished yet; one failing job does not sink the others.

    A job that was interrupted goes on from its last checkpoint, since `train` finds it by the settings.

    Returns:
        In the jobs' order.

    Raises:
        SystemExit: a signal stopped the sweep; the running jobs have saved their state.
    """
    width = executor.width(jobs)
    print(format_plan(jobs, root, width), flush=True)
    for job in jobs:
        job.forget()
    reporter, outcomes = ProgressReporter(jobs, root, width), {}
    with executor.stop.listening(), ThreadPoolExecutor(max(1, min(width, len(jobs)))) as pool:
        numbers = {pool.submit(executor.run, job): place for place, job in enumerate(jobs)}
        for future in yield_as_completed(numbers):
            outcomes[numbers[future]] = future.result()
            reporter.report(future.result())
    executor.stop.exit_if_asked()
    return [outcomes[place] for place in range(len(jobs))]


def yield_as_completed(futures: Iterable[Future[Done]]) -> Iterator[Future[Done]]:
    """The futures in the order of their ends.

    Python runs signal handlers in the main thread, and a signal that another thread has received (Ray's take them) does
    not wake it: so it wakes up by itself.
    """
    left = set(futures)
    while left:
        done, left = wait(left, timeout=POLL, return_when=FIRST_COMPLETED)
        yield from done


class ProgressReporter:
    """Says how each job ended, and how long the rest may take, by the runs that have finished until then.

    Args:
        jobs: all of them; a search names the same one for each that it does not know yet.
        root: the sweep's folder.
        at_once: jobs at a time.
    """

    def __init__(self, jobs: Sequence[Job], root: Path, at_once: int) -> None:
        self.total, self.root, self.at_once, self._ended = len(jobs), root, at_once, 0
        self._left = [job for job in jobs if not job.done()]

    def report(self, outcome: Outcome, more: str = "") -> None:
        """Print a line; `more` stands at its end."""
        self._ended += 1
        said = {
            "finished": f"finished in {format_time(outcome.seconds)}",
            "skipped": "finished before",
            "failed": "FAILED",
            "pruned": "pruned",
            "stopped": "stopped",
        }[outcome.status]
        text = f"sweep {self._ended}/{self.total}  {outcome.job.title}: {said}{more}"
        text += self._rest(outcome)
        if outcome.reason:
            text += f"\n  {outcome.reason}"
        if outcome.status == "failed":
            text += f"\n  log: {outcome.job.folder / LOG}"
        print(text, flush=True)

    def _rest(self, outcome: Outcome) -> str:
        own = [place for place, job in enumerate(self._left) if job.folder == outcome.job.folder]
        del self._left[slice(own[0], own[0] + 1) if own else slice(0)]
        # A search's job is mostly none of those that were foreseen.
        del self._left[max(0, self.total - self._ended) :]
        found = estimate_cost(self._left, self.root.parent)
        if outcome.status == "skipped" or found.unknown == len(self._left):
            return ""
        seconds = found.seconds / min(self.at_once, len(self._left))
        others = f", and {found.unknown} job{'s' * (found.unknown > 1)} on another base model" if found.unknown else ""
        return f"; about {format_time(seconds)} and {format_size(int(found.disk))} left{others}"
