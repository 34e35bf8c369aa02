import csv
import json
import signal

import pytest

from lorakiln.artefacts.tensor_files import load_tensors

pytestmark = pytest.mark.slow


def losses_of(out):
    with (out / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def off(one, two, step=20, part=""):
    """Norm of the difference over the norm, of all weights or of those with `part` in their name."""
    a, b = (load_tensors(out / "adapters" / f"step-{step:08d}.safetensors")[0] for out in (one, two))
    names = [name for name in a if part in name]
    difference = sum(((a[name] - b[name]) ** 2).sum() for name in names).sqrt()
    return (difference / sum((a[name] ** 2).sum() for name in names).sqrt()).item()


@pytest.fixture
def settings(make_settings):
    return lambda devices, **changes: make_settings(
        steps=20,
        tracker={"log_every": 2},
        checkpoint_every=8,
        validation={"every": 10, "fraction": 0.3, "draws": 2},
        trainer={"devices": devices},
        objective={"caption_dropout": 0.2},
        **changes,
    )


def test_two_processes_train_what_one_trains(train_child, train_micro, settings, tmp_path):
    def promised(devices, **changes):
        made = settings(devices, optimizer={"lr": 1e-4}, **changes)
        return made.model_copy(update={"steps": 50, "tracker": made.tracker.model_copy(update={"log_every": 1})})

    one = train_micro(promised(1), "one")
    ended = train_child(promised(2, micro_batch=1), "two")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((one / "provenance.json").read_text())["precision"] == "fp32"
    assert len(losses_of(one)) == 50
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(one), rel=1e-5)
    assert off(one, tmp_path / "two", step=50) < 1e-4
    # The part that begins at zero: all that it holds was trained.
    assert off(one, tmp_path / "two", step=50, part="lora_B") < 1e-4
    # Only one of them tells.
    assert ended.stdout.count("training plan") == 1


def test_two_processes_stop_together_and_one_goes_on(train_child, train_micro, settings, capsys):
    stopped = train_child(settings(2), signal=signal.SIGTERM, at=7)
    assert stopped.returncode == 143, stopped.stderr
    assert "stopped after step 7" in stopped.stderr
    rest = train_micro(settings(1))
    assert "going on from the checkpoint after step 7" in capsys.readouterr().err
    assert off(train_micro(settings(1), "one"), rest) < 1e-4


@pytest.mark.parametrize("kind", ["adamw", "rows"])  # on one vector, and on tensors as they are
def test_one_stops_and_two_go_on(added_kinds, train_killed, train_child, train_micro, settings, tmp_path, kind):
    wanted = {"optimizer": {"kind": kind}}
    train_killed(settings(1, **wanted), at=12)
    ended = train_child(settings(2, **wanted), "out", add=["tests.train.made_up"])
    assert ended.returncode == 0, ended.stderr
    assert "going on from the checkpoint after step 8" in ended.stderr
    assert "the run began with devices 1, now 2" in ended.stderr
    assert off(train_micro(settings(1, **wanted), "one"), tmp_path / "out") < 1e-4


def test_torchrun_starts_the_processes(train_child, train_micro, settings, tmp_path):
    ended = train_child(settings(2), "two", launcher=("-m", "torch.distributed.run", "--nproc-per-node", "2"))
    assert ended.returncode == 0, ended.stderr
    assert off(train_micro(settings(1), "one"), tmp_path / "two") < 1e-4
    assert ended.stdout.count("training plan") == 1
