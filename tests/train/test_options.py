"""What every option of a training holds to: a killed run goes on bit for bit, and watching changes nothing."""

import pytest

from lorakiln.artefacts.tensor_files import load_tensors

OPTIONS = {
    "ema": {"ema": {"decay": 0.9, "start": 2}},
    "fp16": {"trainer": {"precision": "fp16"}},
    "epochs": {"steps": None, "epochs": 3.0, "save_every": "1 epoch"},
    "keeping": {"keep_last": 2, "keep_best": True, "save_every": 2},
    "all": {
        "ema": {"decay": 0.9},
        "trainer": {"precision": "fp16", "attention": "math", "gradient_checkpointing": True},
        "steps": None,
        "epochs": 3.0,
        "keep_best": True,
        "early_stopping": {"patience": 50},
        "adapter": {"dropout": 0.1},
    },
}
# Validation is on wherever, since it holds pictures out.
VALIDATED = {"every": 4, "fraction": 0.3, "draws": 2}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_killed_run_goes_on_bit_for_bit(train_killed, train_micro, make_settings, read_files, name, capsys):
    settings = make_settings(
        **{"checkpoint_every": 4, "validation": VALIDATED, "repeats": 4, "batch_size": 4, **OPTIONS[name]}
    )
    train_killed(settings, at=6)
    out = train_micro(settings)
    assert "going on from the checkpoint after step 4" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(settings, "whole"))


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "keeping"])
def test_watching_changes_nothing(train_micro, make_settings, read_files, name):
    quiet = {"validation": {**VALIDATED, "every": 100}, "tracker": {"log_every": 100}, "repeats": 4}
    loud = {
        "validation": {**VALIDATED, "every": 1},
        "tracker": {"log_every": 1},
        "samples": {"every": 3, "steps": 1, "seeds": [0], "prompts": ["a red cat"]},
        "repeats": 4,
        "checkpoint_every": 2,
    }
    one, other = (
        read_files(train_micro(make_settings(**{**OPTIONS[name], **watched, "keep_last": None}), at))
        for at, watched in (("quiet", quiet), ("loud", loud))
    )
    last = max(file for file in one if file.startswith("adapters/"))
    weights = [file for file in one if file in (last, last.replace("adapters/", "averages/"))]
    assert len(weights) == 1 + ("ema" in OPTIONS[name])
    assert all(one[file] == other[file] for file in weights)


@pytest.mark.slow
def test_two_processes_do_what_one_does(train_micro, train_child, make_settings, tmp_path):
    """With every option on but dropout, whose masks are each device's own, and fp16, which rounds by batch."""
    given = {**OPTIONS["all"], "adapter": {}, "validation": VALIDATED, "repeats": 4, "optimizer": {"lr": 1e-4}}
    exact = {"precision": "fp32", "attention": "math"}
    one = train_micro(make_settings(**{**given, "trainer": exact}), "one")
    ended = train_child(make_settings(**{**given, "trainer": {**exact, "devices": 2}}), "two")
    assert ended.returncode == 0, ended.stderr
    names = {path.relative_to(one) for path in one.rglob("step-*.safetensors")}
    assert names == {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("step-*.safetensors")}
    assert {name.parts[0] for name in names} == {"adapters", "averages"}
    for name in names:
        ours, theirs = (load_tensors(folder / name)[0] for folder in (one, tmp_path / "two"))
        off = sum(((ours[key] - theirs[key]) ** 2).sum() for key in ours).sqrt()
        assert off < 1e-4 * sum((tensor**2).sum() for tensor in ours.values()).sqrt()
