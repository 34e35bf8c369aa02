import json
import os
import shutil
import signal
import threading

import pytest

from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.train import loss_scale
from lorakiln.train.callbacks import RunRecorder
from lorakiln.train.checkpoint import CheckpointFolder
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.stop_request import StopRequest


@pytest.fixture
def settings(make_settings):
    return make_settings(
        checkpoint_every=4,
        save_every=3,
        adapter={"dropout": 0.1},
        objective={"caption_dropout": 0.3},
        validation={"every": 5, "fraction": 0.3, "draws": 2},
        samples={"every": 5, "steps": 2},
        tracker={"log_every": 5},
    )


def test_after_kill_the_run_is_the_uninterrupted_one(
    train_child, train_micro, settings, read_files, checkpoints, capsys
):
    killed = train_child(settings, signal=signal.SIGKILL, at=11)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in sorted(checkpoints.glob("*/step-*"))] == [
        "step-00000004.safetensors",
        "step-00000008.safetensors",
    ]
    rest = train_micro(settings)
    assert "going on from the checkpoint after step 8" in capsys.readouterr().err
    assert read_files(rest) == read_files(train_micro(settings, "whole"))


def test_parts_with_learning_rates_resume_too(train_killed, train_micro, make_settings, read_files, capsys):
    settings = make_settings(
        checkpoint_every=4,
        optimizer={"part_lrs": {"up_blocks": 2e-2, "down_blocks": 0.0}},
        scheduler={"kind": "cosine", "warmup_steps": 2},
    )
    train_killed(settings, at=6)
    out = train_micro(settings)
    assert "going on from the checkpoint after step 4" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(settings, "whole"))


def test_the_average_and_fp16s_factor_go_on(train_killed, train_micro, make_settings, checkpoints, monkeypatch, capsys):
    monkeypatch.setattr(loss_scale, "START", 2.0**8)
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    settings = make_settings(checkpoint_every=4, ema={"decay": 0.99, "warmup": False}, trainer={"precision": "fp16"})
    train_killed(settings, at=6)
    ends = [train_micro(settings)]
    assert "going on from the checkpoint after step 4" in capsys.readouterr().err
    last = load_tensors(next(checkpoints.glob("*/step-00000012.safetensors")))[0]
    assert last["loss_scale/value"].item() == 2.0**12  # doubled after steps 3, 6, 9 and 12
    shutil.rmtree(checkpoints)
    ends.append(train_micro(settings, "whole"))
    assert "going on" not in capsys.readouterr().err
    rest, whole = ((end / "averages/step-00000012.safetensors").read_bytes() for end in ends)
    assert rest == whole


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)])
def test_a_signal_saves_between_steps(
    train_micro, settings, read_files, checkpoints, monkeypatch, capsys, number, status
):
    record = RunRecorder.on_train_batch_end

    def signalled(callback, trainer, module, *batch):
        if module.done == 7:
            os.kill(os.getpid(), number)
        record(callback, trainer, module, *batch)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(RunRecorder, "on_train_batch_end", signalled)
        train_micro(settings)
    assert stopped.value.code == status
    assert "stopped after step 7" in capsys.readouterr().err
    assert next(checkpoints.glob("*/step-00000007.safetensors")).is_file()
    assert signal.getsignal(number) == before
    out = train_micro(settings)
    assert "going on from the checkpoint after step 7" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(settings, "whole"))


def test_a_stopped_process_ends_with_the_signals_status(train_child, settings):
    stopped = train_child(settings, signal=signal.SIGTERM, at=7)
    assert stopped.returncode == 143
    assert "stopped after step 7; a checkpoint is saved" in stopped.stderr


def test_the_second_interrupt_does_not_wait():
    stop = StopRequest()
    stop.install()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGINT)
        assert ended.value.code == 130
    finally:
        stop.remove()


def test_other_settings_start_afresh_and_say_why(train_killed, train_micro, make_settings, capsys):
    train_killed(make_settings(checkpoint_every=4), at=6)
    out = train_micro(make_settings(checkpoint_every=4, optimizer={"lr": 2e-2}))
    told = capsys.readouterr().err
    assert "starting afresh" in told
    assert "train.optimizer.lr: 0.01 -> 0.02" in told
    assert "going on" not in told
    assert (out / "metrics.csv").read_text().splitlines()[1].startswith("3,")


def test_other_data_start_afresh_and_say_so(train_killed, train_micro, make_settings, checkpoints, capsys):
    train_killed(make_settings(checkpoint_every=4), at=6)
    (told_by,) = checkpoints.glob("*/identity.json")
    before = json.loads(told_by.read_text())
    told_by.write_text(json.dumps({**before, "data": "of other pictures"}))
    told_by.parent.rename(checkpoints / "another")
    train_micro(make_settings(checkpoint_every=4, max_grad_norm=2.0))
    told = capsys.readouterr().err
    assert f"since the interrupted run on {before['dataset']}, this changed:\n  the data: pictures, captions" in told
    assert "train.max_grad_norm: 1.0 -> 2.0" in told


def test_what_only_watches_goes_on(train_killed, train_micro, make_settings, capsys):
    train_killed(make_settings(checkpoint_every=4), at=6)
    train_micro(make_settings(checkpoint_every=5, save_every=2, samples={"every": 7, "steps": 1}, micro_batch=2))
    assert "going on from the checkpoint after step 4" in capsys.readouterr().err


def test_a_constant_rate_goes_on_to_more_steps(train_killed, train_micro, make_settings, read_files):
    short = make_settings(checkpoint_every=4)
    train_killed(short, at=9)
    longer = make_settings(steps=20, checkpoint_every=4)
    assert read_files(train_micro(longer)) == read_files(train_micro(longer, "whole"))


def test_a_finished_run_goes_on_to_more_steps(train_micro, settings, read_files, capsys):
    # Everything is on, at steps that the end of the short run disturbs: its last row, adapter and samples go.
    train_micro(settings, "short")
    capsys.readouterr()
    longer = settings.model_copy(update={"steps": 22})
    out = train_micro(longer)
    assert "going on from the checkpoint after step 12" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(longer, "whole"))
    # The same run once more trains.
    assert "going on" not in capsys.readouterr().err


def test_a_run_killed_after_its_last_step_only_does_what_is_left(
    train_micro, settings, read_files, monkeypatch, capsys
):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr("lorakiln.train.stage.write_run", failing("power cut"))
        train_micro(settings)
    monkeypatch.setattr(LoraModule, "training_step", failing("trained again"))
    out = train_micro(settings)
    monkeypatch.undo()
    assert "going on from the checkpoint after step 12" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(settings, "whole"))


def failing(message):
    def fail(*arguments):
        raise RuntimeError(message)

    return fail


def test_no_picture_is_drawn_between_a_signal_and_the_end(train_micro, settings, read_files, monkeypatch, capsys):
    def signalled(callback, trainer, module, *batch):
        if module.done == 10:  # validation and samples are due
            os.kill(os.getpid(), signal.SIGTERM)
            patch.setattr(RunRecorder, "_draw", failing("drawn"))
        record(callback, trainer, module, *batch)

    record = RunRecorder.on_train_batch_end
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(RunRecorder, "on_train_batch_end", signalled)
        train_micro(settings)
    assert read_files(train_micro(settings)) == read_files(train_micro(settings, "whole"))


def test_other_circumstances_are_told(train_killed, train_micro, make_settings, capsys):
    train_killed(make_settings(checkpoint_every=4), at=6)
    train_micro(make_settings(checkpoint_every=4))
    assert "warning" not in capsys.readouterr().err
    train_killed(make_settings(steps=13, checkpoint_every=4, seed=4), at=6)
    train_micro(make_settings(steps=13, checkpoint_every=4, seed=4, micro_batch=2, deterministic=True))
    told = capsys.readouterr().err
    assert "warning: the run began with deterministic False, now True; micro_batch 4, now 2: it goes on" in told


@pytest.mark.parametrize("steps", [6, 8])
def test_fewer_steps_than_were_done(train_killed, train_micro, make_settings, read_files, steps, capsys):
    train_killed(make_settings(checkpoint_every=4, save_every=2), at=11)
    fewer = make_settings(steps=steps, checkpoint_every=4, save_every=2)
    out = train_micro(fewer)
    assert f"going on from the checkpoint after step {steps // 4 * 4}" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(fewer, "whole"))


def steps_of(folder):
    return [int(path.stem.removeprefix("step-")) for path in sorted(folder.glob("step-*.safetensors"))]


def test_a_shorter_run_leaves_a_longer_ones_checkpoints(
    train_killed, train_micro, settings, read_files, checkpoints, capsys
):
    """The longer one's samples and adapters too, with which it ends as if nothing had come between."""
    train_killed(settings, at=11)
    (folder,) = checkpoints.iterdir()
    made = {}
    for steps, begins in ((3, 0), (6, 4)):
        made[steps] = train_micro(settings.model_copy(update={"steps": steps}), f"of {steps}")
        told = capsys.readouterr().err
        assert "the checkpoints of a longer run, up to step 8, are left as they are" in told
        assert ("going on from the checkpoint after step 4" in told) == (begins == 4)
        assert steps_of(folder) == [4, 8] and not list(folder.glob("until-*"))
    capsys.readouterr()
    made[12] = train_micro(settings)
    assert "going on from the checkpoint after step 8" in capsys.readouterr().err
    for steps, out in made.items():
        shutil.rmtree(checkpoints)
        assert read_files(out) == read_files(train_micro(settings.model_copy(update={"steps": steps}), "whole"))


def test_a_shorter_run_that_is_killed_goes_on_beside_the_longer(
    train_killed, train_micro, settings, read_files, checkpoints, capsys
):
    train_killed(settings.model_copy(update={"steps": 22}), at=21)
    (folder,) = checkpoints.iterdir()
    train_killed(settings, at=10)
    assert steps_of(folder) == [16, 20] and steps_of(folder / "until-12") == [4, 8]
    capsys.readouterr()
    out = train_micro(settings)
    assert "going on from the checkpoint after step 8" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(settings, "whole"))
    assert steps_of(folder) == [16, 20]


def test_a_finished_runs_last_state_outlasts_a_shorter_run(train_micro, settings, checkpoints, capsys):
    train_micro(settings)
    train_micro(settings.model_copy(update={"steps": 5}))
    (folder,) = checkpoints.iterdir()
    assert steps_of(folder) == [12]
    capsys.readouterr()
    train_micro(settings.model_copy(update={"steps": 14}))
    assert "going on from the checkpoint after step 12" in capsys.readouterr().err


def test_other_recording_settings_leave_one_kind_of_record(
    train_killed, train_micro, make_settings, read_files, checkpoints, capsys
):
    """Losses of another number of draws, and samples of other prompts, are made again of the weights that are kept."""
    watched = {"checkpoint_every": 4, "save_every": 2, "validation": {"every": 2, "fraction": 0.3, "draws": 1}}
    drawn = {"every": 4, "steps": 2, "prompts": ["a red cat"]}
    train_killed(make_settings(**watched, samples=drawn), at=9)
    watched["validation"]["draws"] = 7
    now = make_settings(**watched, samples={**drawn, "prompts": ["a blue cat", "a cat"], "seeds": [4]})
    capsys.readouterr()
    out = train_micro(now)
    told = capsys.readouterr().err
    assert "measured with other train.validation.draws until here: measured again at steps 0, 2, 4, 6, 8" in told
    assert "drawn with other train.samples or model.resolution until here: drawn again at steps 0, 4, 8" in told
    shutil.rmtree(checkpoints)
    assert read_files(out) == read_files(train_micro(now, "whole"))


def test_losses_whose_weights_are_gone_are_left_out(train_killed, train_micro, make_settings, capsys):
    watched = {"checkpoint_every": 4, "save_every": 8, "validation": {"every": 2, "fraction": 0.3, "draws": 1}}
    drawn = {"every": 2, "steps": 1, "prompts": ["a red cat"]}
    train_killed(make_settings(**watched, samples=drawn), at=11)
    watched["validation"]["draws"] = 7
    out = train_micro(make_settings(**watched, samples={**drawn, "prompts": ["a blue cat"]}))
    assert "measured again at steps 0, 8, where" in capsys.readouterr().err
    rows = (out / "validation.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["0", "8", "10", "12"]
    assert [path.name for path in sorted((out / "samples").iterdir())] == [
        "step-00000000",
        "step-00000008",
        "step-00000010",
        "step-00000012",
    ]


def test_a_checkpoint_by_the_clock(train_killed, make_settings, checkpoints):
    settings = make_settings(checkpoint_minutes=1e-9)
    train_killed(settings, at=5)
    assert [path.name for path in sorted(checkpoints.glob("*/step-*"))] == [
        "step-00000003.safetensors",
        "step-00000004.safetensors",
    ]


def test_a_checkpoint_holds_the_adapter_the_optimizer_and_the_rows(train_killed, settings, checkpoints):
    train_killed(settings, at=10)
    tensors, metadata = load_tensors(next(checkpoints.glob("*/step-00000008.safetensors")))
    kinds = {name.split("/")[0] for name in tensors}
    assert kinds == {"adapter", "optimizer.exp_avg", "optimizer.exp_avg_sq", "optimizer.step"}
    records = json.loads(metadata["records"])
    assert [row["step"] for row in records["metrics"]] == [5]
    assert len(records["losses"]) == 3


def test_a_job_waits_for_another_that_trains_the_same(tmp_path, capsys):
    first, second = CheckpointFolder(tmp_path / "a"), CheckpointFolder(tmp_path / "a")
    first.open({})
    waiting = threading.Thread(target=second.open, args=({},), kwargs={"wait": True}, daemon=True)
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive()
    first.close()
    waiting.join(20)
    assert not waiting.is_alive() and "waiting for another job" in capsys.readouterr().out
    second.close()


def test_one_run_is_trained_by_one_process(tmp_path):
    first, second = CheckpointFolder(tmp_path / "a"), CheckpointFolder(tmp_path / "a")
    first.open({})
    with pytest.raises(UserError, match="another process"):
        second.open({})
    first.delete()
    second.open({})


def test_another_program_starts_afresh_and_says_so(train_killed, train_micro, make_settings, checkpoints, capsys):
    train_killed(make_settings(checkpoint_every=4), at=6)
    (told_by,) = checkpoints.glob("*/identity.json")
    before = json.loads(told_by.read_text())
    told_by.write_text(json.dumps({**before, "code": "of yesterday"}))
    told_by.parent.rename(checkpoints / "another")
    train_micro(make_settings(checkpoint_every=4))
    told = capsys.readouterr().err
    assert "this changed:\n  the program: its code that decides what is trained\n" in told
    assert "of yesterday" not in told
