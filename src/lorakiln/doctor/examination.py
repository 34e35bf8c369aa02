"""The whole examination: the machine first, then the trials, of which each needs the ones before it."""

import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.doctor import machine, trial
from lorakiln.doctor.check import Check, make_failed_check, make_skipped_check
from lorakiln.doctor.isolation import TrialOutcome, end_if_asked, ending_by_signals, run_isolated
from lorakiln.doctor.random_base import KINDS, compute_size
from lorakiln.doctor.report import Redaction
from lorakiln.doctor.request import ExaminationRequest, prepare_base
from lorakiln.doctor.trial import Trial
from lorakiln.doctor.trial_checks import (
    check_drawn_file,
    check_memory_peak,
    check_resume,
    check_samples,
    check_training,
)
from lorakiln.schema.model import ModelSettings

AFTER_BASE = ("pictures", "training", "peak", "samples", "export", "drawing", "resume")


def run_examination(request: ExaminationRequest, tell: Callable[[Check], None]) -> list[Check]:
    """All checks; each is told as soon as it is there.

    What is written goes into a temporary folder, which is gone at the end.
    """
    with ending_by_signals(), tempfile.TemporaryDirectory(prefix="lorakiln-doctor-") as folder:
        words = dict.fromkeys((folder, str(Path(folder).resolve())), "<temporary folder>")
        one = _Examination(request, Path(folder), tell, Redaction({**words, **request.private_words()}))
        one.look()
        one.attempt_all()
        return one.checks


class _Examination:
    def __init__(
        self, request: ExaminationRequest, folder: Path, tell: Callable[[Check], None], redaction: Redaction
    ) -> None:
        self.request, self.folder, self.tell, self.redaction = request, folder, tell, redaction
        self.checks: list[Check] = []
        self.on_gpu = False

    def add(self, check: Check, reported: Check | None = None) -> Check:
        """Tell a check and keep it, or `reported` in its place, for the report."""
        end_if_asked()
        self.tell(Check(**self.redaction(vars(check))))
        self.checks.append(Check(**self.redaction(vars(reported or check))))
        return check

    def apart(
        self, work: Callable[..., Any], *arguments: Any, name: str, meanwhile: Callable[[int], None] | None = None
    ) -> TrialOutcome:
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.request.cpu else {}
        return run_isolated(work, *arguments, log=self.folder / f"{name}.log", environment=hidden, meanwhile=meanwhile)

    def look(self) -> None:
        """The machine."""
        self.add(machine.list_software())
        outcome = self.apart(machine.check_torch, self.request.cpu, name="look")
        for told in outcome.result or []:
            self.add(Check(**told))
        if outcome.error:
            self.add(make_failed_check("device", outcome.error))
        self.on_gpu = any(check.name == "device" and check.facts.get("gpus") for check in self.checks)
        needed = compute_size(KINDS[self.request.random]) if self.request.random else 0
        self.add(machine.check_disk(self.folder, needed))
        # On its way to a GPU it passes through the machine's memory part by part; a CPU holds all of it, in fp32.
        self.add(machine.check_memory(needed if self.on_gpu else 3 * needed))

    def attempt_all(self) -> None:
        """The trials, one after the other; those that need one that failed are skipped."""
        if lacking := [one.name for one in self.checks if one.status == "wrong" and one.name in ("disk", "memory")]:
            self.skip(("base", *AFTER_BASE), f"there is too little {lacking[0]}")
        elif (one := self._find_base()) is None:
            self.skip(AFTER_BASE, "there is no base")
        elif not self.attempt("pictures", self._pictures, one):
            self.skip(AFTER_BASE[1:], "there are no encoded pictures")
        elif not self.attempt("training", self._training, one):
            self.skip(AFTER_BASE[2:], "there is no training")
        else:
            if self.attempt("export", self._export, one):
                self.attempt("drawing", self._drawing, one)
            else:
                self.skip(("drawing",), "there is no exported file")
            self.attempt("resume", self._resume, one)

    def attempt(self, name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """What `work` returns; None if it failed, and then a check says so."""
        try:
            return work(*arguments)
        except UserError as error:
            self.add(make_failed_check(name, error))
            return None

    def skip(self, names: tuple[str, ...], because: str) -> None:
        for name in names:
            self.add(make_skipped_check(name, because))

    def _find_base(self) -> Trial | None:
        try:
            return self._base()
        except UserError as error:
            # What helps may list the folders and settings that are here instead: for this terminal alone.
            check = make_failed_check("base", error)
            self.add(check, replace(check, fix="as the command says where it was run"))
            return None

    def _base(self) -> Trial:
        told = self.apart(prepare_base, self.request, self.folder / "base", name="base").value()
        model, facts = ModelSettings(**told["model"]), told["facts"]
        which = "random weights of its shape" if self.request.random else f"identity {facts['hash'][:12]}"
        what = f"{facts['version']}, predicts {facts['prediction_type']}, {model.resolution} pixels, {which}"
        self.add(Check("base", "ok", what, "", {**facts, "resolution": model.resolution}))
        return Trial(self.folder, model, self.request.micro_batch, self.request.checkpointing)

    def _pictures(self, one: Trial) -> Check:
        facts = self.apart(trial.make_data, one, name="pictures").value()
        told = ", ".join(f"{count} of {name}" for name, count in facts["buckets"].items())
        return self.add(Check("pictures", "ok", f"prepared, captioned and encoded: {told} pixels", "", facts))

    def _training(self, one: Trial) -> Check:
        outcome = self.apart(trial.train_once, one, "run", True, name="train")
        facts = outcome.value()
        check = self.add(check_training(facts, one))
        self.add(check_memory_peak(facts["peak"], facts["counted"]))
        self.add(check_samples(trial.measure_samples(one), outcome.log))
        return check

    def _export(self, one: Trial) -> Check:
        facts = self.apart(trial.write_files, one, name="export").value()
        clients, most = ", ".join(facts["clients"]), facts["largest_relative_difference"]
        told = (
            f"{format_count(facts['layers'], 'layer')}, read back as {clients} do, and equal (fp16, within {most:.1e})"
        )
        return self.add(Check("export", "ok", told, "", facts))

    def _drawing(self, one: Trial) -> Check:
        return self.add(check_drawn_file(self.apart(trial.draw_with_file, one, name="draw").value()))

    def _resume(self, one: Trial) -> Check:
        name = "resumed"
        sent: list[int] = []

        def interrupt(process: int) -> None:
            # Once: a second one asks for an end without a checkpoint.
            if not sent and trial.find_checkpoint(one, name):
                os.kill(process, signal.SIGTERM)
                sent.append(process)

        stopped = self.apart(trial.train_once, one, name, False, name="stop", meanwhile=interrupt)
        if stopped.status != 128 + signal.SIGTERM:  # it was over before, or something is wrong
            stopped.value()
        at = trial.find_checkpoint(one, name)
        self.apart(trial.train_once, one, name, False, name="resume").value()
        facts = {**trial.compare_runs(one, "run", name), "stopped_at": at, "status": stopped.status}
        return self.add(check_resume(facts, exact=not self.on_gpu))
