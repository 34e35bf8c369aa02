"""Each trial runs in a process of its own: what it breaks, a CUDA context or itself, it breaks for itself alone.

A peak of memory is then also that of the trial. The processes are forked, so that the libraries are imported once. This
process does not touch CUDA, which a fork could not use any more; where a library has done so at its import, they are
spawned.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, Literal

import torch

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.console.errors import UserError
from lorakiln.console.memory import is_out_of_memory
from lorakiln.console.orphans import end_with_parents

PATIENCE = 3600.0  # seconds; a large base on a slow disk takes minutes
GRACE = 20.0  # seconds to end in, once this process is no more
TICK = 0.01  # seconds between looks
FRAMES = 4  # of a traceback, the last ones
REPORT = "this is a fault of the program or of a library: attach this report to an issue"
MEMORY = "end what else uses the memory, or take less at once (--micro-batch 1, --checkpointing, a smaller base)"

_asked: list[int] = []  # the signals that have come


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended.

    Attributes:
        result: what it returned, as JSON has it; None if it returned nothing or did not come to its end.
        error: why it did not.
        status: of its process: 0, what `SystemExit` said, or minus the signal that killed it.
        log: what it printed.
    """

    result: Any
    error: UserError | None
    status: int
    log: str

    def value(self) -> Any:
        """The result; raises the error if there is one."""
        if self.error:
            raise self.error
        return self.result


def run_isolated(
    work: Callable[..., Any],
    *arguments: Any,
    log: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    meanwhile: Callable[[int], None] | None = None,
    patience: float = PATIENCE,
) -> TrialOutcome:
    """Call `work` in a process of its own, and wait for its end.

    Args:
        work: returns what JSON can hold.
        log: a new file for what it prints; what it returns is put beside it.
        environment: set in the process alone.
        meanwhile: called a hundred times a second with the process's number.
        patience: seconds after which it is killed.
    """
    answer = log.with_suffix(".json")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    order = (work, arguments, log, answer, dict(environment))
    spawns = _start_method() == "spawn"
    kind = multiprocessing.get_context("spawn").Process if spawns else multiprocessing.get_context("fork").Process
    process = kind(target=_child, args=order)
    process.start()
    assert process.pid is not None  # it was started
    end = time.monotonic() + patience
    try:
        while process.exitcode is None and time.monotonic() < end:
            process.join(TICK)
            end_if_asked()
            if meanwhile and process.exitcode is None:
                meanwhile(process.pid)
        late = process.exitcode is None
    finally:
        if process.is_alive():
            process.kill()
            process.join()
    assert process.exitcode is not None  # it has ended
    told = read_json(answer) if answer.exists() else {}
    error = None
    if "error" in told:
        what, where, fix = told["error"]
        error = UserError(what, where=where, fix=fix)
    elif "result" not in told:
        error = _without_a_word(process.exitcode, patience if late else 0)
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return TrialOutcome(told.get("result"), error, process.exitcode, text)


@contextlib.contextmanager
def ending_by_signals() -> Iterator[None]:
    """Meanwhile SIGINT (Ctrl-C) and SIGTERM end this program where `end_if_asked` is called, as exceptions.

    So trials and the temporary folder go with it. Raised by the handler itself, one may be lost: Python ignores what
    is raised while it forks.
    """
    before = {number: signal.signal(number, _note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        _asked.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def end_if_asked() -> None:
    """Raise KeyboardInterrupt after SIGINT, SystemExit with 143 after SIGTERM."""
    if _asked:
        raise KeyboardInterrupt if _asked[0] == signal.SIGINT else SystemExit(128 + _asked[0])


def _note(number: int, frame: FrameType | None) -> None:
    _asked.append(number)


@cache
def _start_method() -> Literal["fork", "spawn"]:
    """How a process is started in which CUDA can be used; only a fork can tell whether it could."""
    probe = multiprocessing.get_context("fork").Process(target=_probe)
    probe.start()
    probe.join()
    return "spawn" if probe.exitcode else "fork"


def _probe() -> None:
    os._exit(int(torch.cuda._is_in_bad_fork()))


def _without_a_word(status: int, late: float) -> UserError:
    if late:
        return UserError(f"not done after {late:.0f} s, and ended", fix=REPORT)
    if status == -signal.SIGKILL:
        return UserError("was killed by the system: out of memory, most likely", fix=MEMORY)
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return UserError(how, fix=REPORT)


def _child(
    work: Callable[..., Any], arguments: tuple[Any, ...], log: Path, answer: Path, environment: dict[str, str]
) -> None:
    os.environ.update(environment)
    os.setsid()  # Ctrl-C is the parent's to handle
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    end_with_parents(1, GRACE)
    with log.open("w", encoding="utf-8", buffering=1) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        sys.stdout = sys.stderr = file
        try:
            told = {"result": work(*arguments)}
        except UserError as error:
            told = {"error": [error.what, None if error.where is None else str(error.where), error.fix]}
        except Exception as error:  # whatever it is: the report is what tells of it
            traceback.print_exc()
            told = {"error": [describe_crash(error), None, MEMORY if is_out_of_memory(error) else REPORT]}
        write_json(answer, told)


def describe_crash(error: Exception) -> str:
    """An error that nobody foresaw, and where: files by their package, without the folders that they are in."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the call above
    ours = [frame for frame in frames if "/lorakiln/" in frame.filename][-FRAMES:]
    shown = [*ours, *(frame for frame in frames[-1:] if frame not in ours)]
    places = ", ".join(f"{_in_package(frame.filename)}:{frame.lineno}" for frame in shown)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}{' ...' if len(text) > 400 else ''} (at {places})"


def _in_package(file: str) -> str:
    for folder in ("/site-packages/", "/src/"):
        if folder in file:
            return file.rpartition(folder)[2]
    return Path(file).name
