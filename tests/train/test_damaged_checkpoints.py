"""Checkpoints, and other files beside them, that are damaged or hold what is not finite."""

import json

import pytest

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.train.callbacks import RunRecorder
from lorakiln.train.checkpoint import compute_digest, read_checkpoint


@pytest.fixture
def settings(make_settings):
    return make_settings(checkpoint_every=4, adapter={"dropout": 0.1}, objective={"caption_dropout": 0.3})


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    train_killed, train_micro, settings, read_files, checkpoints, capsys
):
    train_killed(settings, at=10)
    newest = next(checkpoints.glob("*/step-00000008.safetensors"))
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    out = train_micro(settings)
    told = capsys.readouterr().err
    assert "step-00000008.safetensors: a damaged checkpoint; going back to the one before" in told
    assert "going on from the checkpoint after step 4" in told
    assert read_files(out) == read_files(train_micro(settings, "whole"))


def test_a_truncated_checkpoint_too(train_killed, train_micro, settings, checkpoints, capsys):
    train_killed(settings, at=10)
    newest = next(checkpoints.glob("*/step-00000008.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])
    train_micro(settings)
    assert "going on from the checkpoint after step 4" in capsys.readouterr().err


def test_a_checkpoint_whose_rows_were_changed_too(train_killed, train_micro, settings, checkpoints, capsys):
    train_killed(settings, at=10)
    newest = next(checkpoints.glob("*/step-00000008.safetensors"))
    content = newest.read_bytes()
    assert b'\\"done\\": [' in content
    newest.write_bytes(content.replace(b'\\"done\\": [', b'\\"dome\\": ['))
    train_micro(settings)
    assert "a damaged checkpoint; going back to the one before" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_finite_too(train_killed, train_micro, settings, read_files, checkpoints, capsys):
    train_killed(settings, at=10)
    newest = next(checkpoints.glob("*/step-00000008.safetensors"))
    state = read_checkpoint(newest)
    name = next(name for name in sorted(state.tensors) if name.startswith("adapter/"))
    state.tensors[name] = state.tensors[name].clone()
    state.tensors[name][0, 0] = float("nan")
    metadata = {"step": "8", "records": json.dumps(state.records, sort_keys=True)}
    save_tensors(newest, state.tensors, {**metadata, "sha256": compute_digest(state.tensors, metadata)})
    out = train_micro(settings)
    told = capsys.readouterr().err
    assert f"a checkpoint whose {name} is not finite; going back to the one before" in told
    assert "going on from the checkpoint after step 4" in told
    assert read_files(out) == read_files(train_micro(settings, "whole"))


def test_weights_that_are_not_finite_are_not_saved(train_micro, make_settings, checkpoints, monkeypatch, tmp_path):
    # The last step's losses and gradients were finite: only the weights tell.
    def overflown(callback, trainer, module, *batch):
        if module.done == 12:
            module.flat.weights.data[5] = float("inf")
        record(callback, trainer, module, *batch)

    record = RunRecorder.on_train_batch_end
    monkeypatch.setattr(RunRecorder, "on_train_batch_end", overflown)
    with pytest.raises(UserError, match=r"is not finite after step 12; nothing was saved; the last good .*00000008"):
        train_micro(make_settings(checkpoint_every=4))
    assert [path.name for path in sorted(checkpoints.glob("*/step-*"))] == [
        "step-00000004.safetensors",
        "step-00000008.safetensors",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000])
def test_what_is_damaged_of_other_runs_is_left_alone(train_micro, make_settings, checkpoints, content):
    other = checkpoints / "other"
    other.mkdir(parents=True)
    (other / "identity.json").write_text(content)
    (other / "step-00000004.safetensors").touch()
    train_micro(make_settings(steps=2))
    assert (other / "identity.json").read_text() == content


def test_what_is_no_checkpoint_is_left_alone(train_killed, train_micro, settings, checkpoints, capsys):
    train_killed(settings, at=10)
    (folder,) = checkpoints.glob("*")
    (folder / "step-00000009.safetensors").mkdir()
    (folder / "step-mine.safetensors").touch()
    (folder / "tracker.json").write_text("")
    train_micro(settings)
    told = capsys.readouterr().err
    assert "going on from the checkpoint after step 8" in told
    assert "tracker.json: damaged" in told and "starts a record of its own" in told
