"""Who gets which GPU, on a machine that has none."""

import os
import threading
from contextlib import ExitStack

import pytest

from lorakiln.console.errors import UserError
from lorakiln.sweep.devices import Claims, list_visible_gpus
from lorakiln.sweep.jobs import Job
from lorakiln.sweep.local_jobs import LocalProcesses
from lorakiln.sweep.running import run_jobs
from lorakiln.sweep.stopping import Stop


def executor(root, gpus, at_once=None):
    return LocalProcesses(at_once, Claims(gpus, root / "gpus"))


def devices(accelerator, count):
    return Job(0, (), None, "", {"train": {"trainer": {"accelerator": accelerator, "devices": count}}}).devices


def test_a_job_takes_as_many_gpus_as_it_trains_on_and_one_at_least():
    assert [devices("gpu", 1), devices("auto", 2), devices("cpu", 2)] == [1, 2, 1]


@pytest.mark.parametrize(
    ("gpus", "count", "at_once", "width"),
    [((), 1, None, 1), ((), 1, 3, 3), ("01", 1, None, 2), ("01", 1, 8, 2), ("01", 1, 1, 1), ("0123", 2, None, 2)],
)
def test_so_many_jobs_run_at_a_time(tmp_path, make_jobs, gpus, count, at_once, width):
    assert executor(tmp_path, gpus, at_once).width(make_jobs("ok", "ok", devices=count)) == width


def test_no_two_jobs_share_a_gpu_though_two_sweeps_run(tmp_path, make_jobs, calls):
    made, others = make_jobs(*["sleep"] * 4), make_jobs(*["sleep"] * 4, again=True)
    at_once, seen, lock = set(), [], threading.Lock()

    class Watched(Claims):
        def claim(self, count, stop):
            outer = super().claim(count, stop)

            class Context:
                def __enter__(self):
                    claimed = outer.__enter__()
                    with lock:
                        name = claimed[0]["CUDA_VISIBLE_DEVICES"]
                        assert name not in at_once
                        at_once.add(name)
                        seen.append(name)
                    self.name = name
                    return claimed

                def __exit__(self, *error):
                    with lock:
                        at_once.discard(self.name)
                    return outer.__exit__(*error)

            return Context()

    sweeps = [LocalProcesses(None, Watched(["3", "5"], tmp_path / "gpus")) for _ in range(2)]
    threads = [
        threading.Thread(target=run_jobs, args=(jobs, tmp_path, one))
        for jobs, one in zip((made[:2], others[2:]), sweeps, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4 and set(seen) == {"3", "5"}
    assert {name for job in made for name in calls(job)} == {"3", "5"}


def test_a_job_on_two_gpus_gets_two(tmp_path, make_jobs, calls):
    made = make_jobs("ok", "ok", devices=2)
    run_jobs(made, tmp_path, executor(tmp_path, ["0", "1", "2"]))
    assert [calls(job) for job in made] == [["0,1"]] * 2


def test_more_gpus_than_there_are_is_the_jobs_error(tmp_path, make_jobs):
    (outcome,) = run_jobs(make_jobs("ok", devices=4), tmp_path, executor(tmp_path, ["0", "1"]))
    assert outcome.status == "failed" and "it wants 4 GPUs, this machine shows 2" in outcome.reason


def test_a_claim_is_waited_for_and_given_back(tmp_path):
    one, other = Claims(["0"], tmp_path), Claims(["0"], tmp_path)
    stop = Stop()
    with one.claim(1, Stop()) as held:
        assert held[0] == {"CUDA_VISIBLE_DEVICES": "0"}
        stop.ask()
        with other.claim(1, stop) as none:
            assert none is None
    with other.claim(1, Stop()) as held, pytest.raises(UserError, match="wants 2"), one.claim(2, Stop()):
        pass
    assert held[0] == {"CUDA_VISIBLE_DEVICES": "0"}


@pytest.mark.parametrize(("named", "gpus"), [("3,5", ["3", "5"]), ("", []), ("-1", []), ("GPU-1a", ["GPU-1a"])])
def test_what_the_environment_names_is_visible(monkeypatch, named, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert list_visible_gpus() == gpus


def test_without_a_choice_all_of_the_drivers_gpus_are_visible_and_have_one_lock_by_whatever_name(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aa'\necho '1, GPU-bb'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert list_visible_gpus() == ["GPU-aa", "GPU-bb"]
    by_number, by_uuid = Claims(["1"], tmp_path / "gpus"), Claims(["GPU-bb"], tmp_path / "gpus")
    with by_number.claim(1, Stop()) as held:
        assert held[0] == {"CUDA_VISIBLE_DEVICES": "1"}
        assert by_uuid._free(1, ExitStack()) == {}
    with by_uuid.claim(1, Stop()) as held:
        assert held[0] == {"CUDA_VISIBLE_DEVICES": "GPU-bb"}
    # A driver that fails shows none.
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed, sorry'\nexit 9\n")
    assert list_visible_gpus() == []
