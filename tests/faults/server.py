"""Runs programs one after the other, each in a fork of this process: what they import is loaded once, not every time.

A job (one line of JSON on stdin) is a module run as `python -m` does, in its own folder. It may pause before the n-th
call of a function: it then makes the file `paused` and waits for the file `go`, so that whoever ordered it can send a
signal at that very place. The answers are the process's number and, at its end, its exit status.
"""

import gc
import importlib
import json
import os
import runpy
import sys
import time
from pathlib import Path

DOORS = [
    "train",
    "pipelines.prepare",
    "pipelines.caption",
    "pipelines.encode",
    "pipelines.train",
    "pipelines.export",
    "pipelines.evaluate",
]


def main() -> None:
    import torch

    torch.set_num_threads(1)
    stages = [f"lorakiln.{name}" for name in ("prepare", "caption", "encode", "train", "choose", "export", "evaluate")]
    for name in ("hydra", "lorakiln.runs", *stages):
        importlib.import_module(name)
    for name in DOORS:
        importlib.import_module(name)
        del sys.modules[name]  # `runpy` warns of what it finds imported already
    warm()
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            run(job)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def warm() -> None:
    """Find once what every program would find for itself."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from lorakiln.artefacts.code_digest import find_code

    get_checkpoint_conversion_mapping("clip_text_model")  # it compiles a thousand patterns
    find_code("lorakiln.train.assembly", "lorakiln.prepare", "lorakiln.caption", "lorakiln.encode", "lorakiln.evaluate")
    gc.collect()
    gc.freeze()  # half a second for each look for garbage, among the million objects of the libraries


def run(job: dict) -> None:
    """Become the program; does not return."""
    status = 1
    try:
        os.chdir(job["folder"])
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if job["pause"]:
            pause(job["pause"], job["count"], Path(job["signals"]))
        for name in job["skip"]:
            replace(name, lambda original: lambda *arguments, **named: None)
        sys.argv = ["", *job["arguments"]]
        runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def replace(name: str, wrap) -> None:
    """Put `wrap(original)` in the place of "module:attribute.attribute"."""
    module, _, path = name.partition(":")
    *parents, last = path.split(".")
    owner = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, last, wrap(getattr(owner, last)))


def pause(name: str, count: int, folder: Path) -> None:
    """Wait before the call with this number, from 1."""
    calls = 0

    def wrap(original):
        def waiting(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == count:
                (folder / "paused").touch()
                while not (folder / "go").exists():
                    time.sleep(0.002)
            return original(*arguments, **named)

        return waiting

    replace(name, wrap)


if __name__ == "__main__":
    main()
