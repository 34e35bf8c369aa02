"""Ask the study, run the job, tell the study; as many at a time as the executor runs."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.sweep.executor import Executor
from lorakiln.sweep.jobs import Job, Outcome, read_outcome
from lorakiln.sweep.objectives import read_numbers, select_values
from lorakiln.sweep.plan import format_plan
from lorakiln.sweep.running import ProgressReporter, yield_as_completed
from lorakiln.sweep.study import SharedStudy


class Launcher(Protocol):
    """Makes jobs of overrides, and knows who runs them.

    Attributes:
        root: the sweep's folder.
    """

    @property
    def root(self) -> Path: ...

    def job(self, number: int, overrides: Sequence[str], own: Sequence[str]) -> Job:
        """Compose a job; `own` are those of the overrides that set it apart from the others."""

    def executor(self) -> Executor: ...


class Search:
    """Runs a study's trials.

    Args:
        fixed: the overrides that all trials share.
        prune: end runs that the study holds for hopeless.
    """

    def __init__(self, study: SharedStudy, launcher: Launcher, fixed: Sequence[str], prune: bool) -> None:
        self.study, self.launcher, self.fixed, self.prune = study, launcher, list(fixed), prune
        self.objectives = study.settings.objectives

    def run(self) -> None:
        """Run trials until the study has all that are wanted; trials that another process has are left to it.

        Raises:
            UserError: the executor prunes no jobs, or the reports have no such objective.
            SystemExit: a signal stopped the search; trials that were running go on with the same command.
        """
        before, study = len(self.study.ended()), self.study
        wanted = study.settings.trials
        print(
            f"search: {format_count(wanted, 'trial')}, {before} ended before, over {', '.join(study.space)}", flush=True
        )
        print(f"study: {study.name} in {study.storage}", flush=True)
        with study.join_study():
            first = study.next_trial()
            if first is None:
                return
            self._run_from(first, wanted - before)

    def _run_from(self, first: int, left: int) -> None:
        with self.launcher.executor() as executor:
            if self.prune and not executor.prunes:
                raise UserError(
                    "only jobs on this machine can be pruned",
                    where="hydra.sweeper.prune",
                    fix="use hydra/launcher=processes",
                )
            # The first trial stands for those that nobody knows yet.
            foreseen = [self._job(first)] * max(1, left)
            width = min(executor.width(foreseen), len(foreseen))
            print(format_plan(foreseen, self.launcher.root, width, titles=False), flush=True)
            claimed, reporter = deque([first]), ProgressReporter(foreseen, self.launcher.root, width)
            with executor.stop.listening(), ThreadPoolExecutor(width) as pool:
                workers = [pool.submit(self._work, executor, claimed, reporter) for _ in range(width)]
                for worker in yield_as_completed(workers):
                    worker.result()
            executor.stop.exit_if_asked()

    def outcomes(self) -> list[Outcome]:
        """Of all trials that have ended, in this process or another, in their order."""
        return [read_outcome(self._job(trial.number)) for trial in self.study.ended()]

    def _work(self, executor: Executor, claimed: deque[int], reporter: ProgressReporter) -> None:
        try:
            while not executor.stop.asked:
                number = claimed.popleft() if claimed else self.study.next_trial()
                if number is None:
                    return
                self._trial(executor, number, reporter)
        except BaseException:
            # What is wrong here is wrong in all: the others save their state and end.
            executor.stop.ask()
            raise

    def _trial(self, executor: Executor, number: int, reporter: ProgressReporter) -> None:
        pruner = (lambda step, loss: self.study.should_prune_trial(number, step, loss)) if self.prune else None
        outcome = executor.run(self._job(number), pruner)
        said = ""
        if outcome.has_result:
            numbers, _ = read_numbers(outcome.job.folder)
            values = select_values(numbers, self.objectives)
            self.study.tell(number, values)
            pairs = zip(self.objectives, values, strict=True)
            said = "".join(f", {name} {value:.4g}" for name, value in pairs)
        elif outcome.status != "stopped":
            # One that was stopped stays open: the same command goes on with it.
            self.study.tell_without_result(number, outcome.status == "pruned")
        reporter.report(outcome, said)

    def _job(self, number: int) -> Job:
        own = self.study.overrides_of(number)
        return self.launcher.job(number, [*self.fixed, *own], own)
