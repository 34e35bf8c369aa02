"""How long a training is, in steps or epochs, what is saved and kept of it, and when it ends early."""

import csv
import json
import shutil
import signal
from fractions import Fraction

import pytest

from lorakiln.console.errors import ConfigError
from lorakiln.schema.base import check
from lorakiln.schema.train import EarlyStoppingSettings, TrainSettings
from lorakiln.schema.whole_config import check_whole
from lorakiln.train.length import choose_kept, count_due, count_epoch, count_steps, is_due, is_ended_early
from lorakiln.train.validation_split import ValidationSplit
from pipelines.compose import compose_config

# 25 pictures, 4 a step: 6.25 steps an epoch.
EPOCH = Fraction(25, 4)


def split(pictures, *own):
    """One bucket, of which the first pictures have batches of their own."""
    return ValidationSplit([list(range(pictures))], [[]], [[*own, *[None] * (pictures - len(own))]] if own else [])


@pytest.mark.parametrize(
    ("interval", "due"),
    [
        (10, [10, 20]),
        ("1 epoch", [7, 13, 19, 25]),  # ceil of 6.25, 12.5, 18.75, 25
        ("2 epochs", [13, 25]),
        ("0.5epochs", [4, 7, 10, 13, 16, 19, 22, 25]),
        ("0.1 epochs", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]),
        (0, []),
    ],
)
def test_what_is_due_is_due_after_the_step_that_ends_it(interval, due):
    assert [step for step in range(1, 26) if is_due(step, interval, EPOCH)] == due
    assert [count_due(steps, interval, EPOCH) for steps in (0, 7, 25)] == [
        len([step for step in due if step <= steps]) for steps in (0, 7, 25)
    ]


@pytest.mark.parametrize(
    "wrong", ["", "epochs", "2", "0 epochs", "-1 epochs", "1e3 epochs", -1, True, 1.5, None, 10**10]
)
def test_what_is_no_interval_is_refused(make_settings, wrong):
    told = make_settings().model_dump()
    with pytest.raises(ConfigError, match=r'train\.save_every: should be a number of steps .*"2 epochs"'):
        check(TrainSettings, {**told, "save_every": wrong}, "train")


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"epochs": 40.0}, 250),
        ({"epochs": 3.0}, 19),  # 18.75
        ({"epochs": 3.0, "repeats": 10}, 188),  # 187.5: as many as sd-scripts' num_repeats
        ({"epochs": 0.1}, 1),
        ({}, 1000),
    ],
)
def test_epochs_as_steps(make_settings, given, steps):
    settings = make_settings(**{"steps": None, **given})
    counted = count_steps(settings, split(25))
    assert (counted.steps, counted.total_steps, counted.epochs) == (steps, steps, None)
    assert count_epoch(settings, split(25)) == EPOCH * settings.repeats


def test_both_lengths_are_refused_and_so_is_a_warm_up_that_does_not_fit(make_settings):
    told = make_settings().model_dump()
    with pytest.raises(
        ConfigError, match="steps 12 and epochs 2 are both set; set train.steps=null to train by epochs"
    ):
        check(TrainSettings, {**told, "epochs": 2}, "train")
    late = make_settings(steps=None, epochs=1.0, scheduler={"warmup_steps": 8})
    assert count_steps(late, split(32)).steps == 8
    with pytest.raises(ConfigError, match="scheduler.warmup_steps 8 is more than steps 7"):
        count_steps(late, split(25))
    with pytest.raises(
        ConfigError, match="early_stopping.patience goes by the validation loss, which is never measured"
    ):
        check(TrainSettings, {**told, "early_stopping": {"patience": 2}}, "train")


@pytest.mark.parametrize(
    ("settings", "losses", "end"),
    [
        ({"patience": 2}, [5, 4, 3, 3, 4, 1], 5),  # equal is no gain
        ({"patience": 2}, [5, 6, 4, 6, 3], None),
        ({"patience": 1, "least_gain": 0.5}, [5, 4, 3.6], 3),
        ({"patience": 3, "least_gain": 0.5}, [5, 4, 3.8, 3.6, 3.4, 2], None),  # measured from the lowest, which is 4
        ({"patience": 1, "smoothing": 0.5}, [4, 1, 2.2], None),  # 4, 2, 2.11...: see below
        ({"patience": None}, [1, 2, 3, 4], None),
    ],
)
def test_when_a_training_ends_early(settings, losses, end):
    stopping = EarlyStoppingSettings(**settings)
    if stopping.smoothing:
        # (0.5 * 4 / 2 + 1) / ... : the average without its beginning's pull.
        means = [4, (0.25 * 4 + 0.5 * 1) / 0.75, (0.125 * 4 + 0.25 * 1 + 0.5 * 2.2) / 0.875]
        assert means == pytest.approx([4, 2, 2.114286], rel=1e-6)
        end = 3
    found = [count for count in range(1, len(losses) + 1) if is_ended_early(losses[:count], stopping)]
    assert (found[0] if found else None) == end


def test_which_adapters_are_kept(make_settings):
    def kept(steps, losses, last=0, **changes):
        validated = {"every": 1, "fraction": 0.3, "draws": 1}
        settings = make_settings(save_every=2, validation=validated, **changes)
        return sorted(choose_kept(steps, losses, settings, EPOCH, last))

    losses = {2: 3.0, 3: 0.5, 4: 1.0, 6: 1.0, 7: 2.0}
    steps = [2, 3, 4, 6, 7]
    assert kept([2, 4, 6, 7], losses, 7) == [2, 4, 6, 7]
    assert kept([2, 4, 6], losses) == [2, 4, 6]
    assert kept(steps, losses, 7, keep_last=1) == [4, 7]  # the best of the saved; step 3 was none of them
    assert kept(steps, losses, 7, keep_last=2) == [4, 6, 7]
    assert kept(steps, {}, 7, keep_last=1) == [7]
    assert kept(steps, losses, 7, keep_best=True) == [2, 3, 4, 6, 7]
    assert kept(steps, losses, 7, keep_last=1, keep_best=True) == [3, 7]


def test_epochs_through_the_command_line():
    given = ["train.steps=null", "train.epochs=2", "train.save_every=1epoch", "train.samples.every=5 epochs"]
    train = check_whole(compose_config(["+experiment=smoke", *given])).train
    assert (train.steps, train.epochs, train.save_every, train.samples.every) == (None, 2, "1epoch", "5 epochs")
    with pytest.raises(ConfigError, match="set train.steps=null to train by epochs"):
        check_whole(compose_config(["+experiment=smoke", "train.epochs=2"]))


def steps_of(out):
    return [int(path.stem.removeprefix("step-")) for path in sorted((out / "adapters").glob("step-*"))]


def validated(out):
    with (out / "validation.csv").open() as file:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}


# The micro dataset has 6 pictures, of which 2 are held out: 4 are an epoch of one step, with repeats 3 of three.
BY_EPOCHS = {
    "steps": None,
    "epochs": 4.0,
    "repeats": 3,
    "save_every": "1 epoch",
    "validation": {"every": "1 epoch", "fraction": 0.3, "draws": 2},
    "samples": {"every": "2 epochs", "steps": 1, "seeds": [0], "prompts": ["a red cat"]},
}


def test_a_run_of_epochs_is_the_run_of_so_many_steps(train_micro, make_settings, read_files, capsys):
    settings = make_settings(**BY_EPOCHS)
    by_epochs = train_micro(settings)
    told = capsys.readouterr().out
    assert "12 = 4 epochs of 3 steps; each picture is seen 12 times" in told
    assert "4 adapters, every 1 epoch and at the end" in told
    in_steps = {
        "save_every": 3,
        "steps": 12,
        "epochs": None,
        "validation": {**BY_EPOCHS["validation"], "every": 3},
        "samples": {**BY_EPOCHS["samples"], "every": 6},
    }
    by_steps = train_micro(make_settings(**BY_EPOCHS | in_steps), "steps")
    one, other = read_files(by_epochs), read_files(by_steps)
    facts, others = json.loads(one.pop("facts.json")), json.loads(other.pop("facts.json"))
    assert one == other and steps_of(by_epochs) == [3, 6, 9, 12]
    assert facts.pop("settings")["train"]["epochs"] == 4
    assert others.pop("settings")["train"]["steps"] == 12
    assert facts == others and (facts["step"], facts["max_steps"], facts["epoch_steps"]) == (12, 12, 3)


def test_repeats_alone_change_nothing_and_the_plan_says_so(train_micro, make_settings, read_files, capsys):
    once = train_micro(make_settings(), "once")
    assert "change nothing" not in capsys.readouterr().out
    often = train_micro(make_settings(repeats=10), "often")
    assert "repeats of 10 change nothing: nothing here is counted in epochs" in capsys.readouterr().out
    name = "adapters/step-00000012.safetensors"
    assert read_files(once)[name] == read_files(often)[name]
    counted = make_settings(steps=None, epochs=1.0, repeats=10, save_every="1 epoch")
    # 6 pictures, 10 times, 4 a step.
    assert steps_of(train_micro(counted, "counted")) == [15]


KEEPING = {
    "save_every": 2,
    "keep_last": 2,
    "keep_best": True,
    "checkpoint_every": 4,
    "validation": {"every": 1, "fraction": 0.3, "draws": 2},
}


def test_the_last_and_the_best_are_kept_through_a_kill_and_in_a_longer_run(
    train_killed, train_micro, make_settings, read_files, capsys
):
    settings = make_settings(**KEEPING)
    whole = train_micro(settings, "whole")
    losses = validated(whole)
    best = min((loss, step) for step, loss in losses.items() if step)[1]
    assert steps_of(whole) == sorted({10, 12, best})
    longer = make_settings(**KEEPING, steps=15)
    train_micro(longer, "longer")
    assert "going on from the checkpoint after step 12" in capsys.readouterr().err
    again = make_settings(**KEEPING, steps=15, seed=4)
    train_killed(again, at=11)
    assert read_files(train_micro(again, "out")) == read_files(train_micro(again, "never"))


# A rate so high that the loss rises again.
RISING = {
    "steps": 60,
    "checkpoint_every": 2,
    "optimizer": {"kind": "adamw", "lr": 0.3},
    "validation": {"every": 1, "fraction": 0.3, "draws": 2},
    "early_stopping": {"patience": 3},
    "samples": {"every": 50, "steps": 1, "seeds": [0], "prompts": ["a red cat"]},
}


@pytest.mark.parametrize("scheduler", ["constant", "cosine"])
def test_a_run_that_ends_early(train_micro, make_settings, read_files, capsys, scheduler):
    settings = make_settings(**RISING, scheduler={"kind": scheduler})
    out = train_micro(settings)
    told = capsys.readouterr().out
    losses, facts = validated(out), json.loads((out / "facts.json").read_text())
    best = min((loss, step) for step, loss in losses.items() if step)[1]
    end = max(losses)
    assert end < 60 and (facts["step"], facts["max_steps"]) == (end, 60)
    assert is_ended_early(list(losses.values()), settings.early_stopping)
    assert not is_ended_early(list(losses.values())[:-1], settings.early_stopping)
    assert f"stopped early after step {end} of 60: 3 validations in a row were no gain; step {best}" in told
    assert steps_of(out) == [best, end]
    assert (out / "samples" / f"step-{end:08d}").is_dir()
    # It is finished: the same run again trains nothing; with more patience it goes on as if it had had that at once.
    assert read_files(train_micro(settings, "again")) == read_files(out)
    assert json.loads((out.parent / "again" / "provenance.json").read_text())["steps_here"] == 0
    patient = make_settings(**RISING | {"early_stopping": {"patience": 5}}, scheduler={"kind": scheduler})
    capsys.readouterr()
    on = train_micro(patient, "on")
    assert f"going on from the checkpoint after step {end}" in capsys.readouterr().err
    assert max(validated(on)) > end
    assert read_files(on)["validation.csv"].startswith(read_files(out)["validation.csv"])


def test_a_kill_at_the_early_end(train_micro, train_killed, make_settings, read_files):
    settings = make_settings(**RISING)
    whole = train_micro(settings, "whole")
    end = json.loads((whole / "facts.json").read_text())["step"]
    shutil.rmtree(whole.parent / "cache")
    train_killed(settings, at=end)
    assert read_files(train_micro(settings)) == read_files(whole)


@pytest.mark.slow
def test_two_processes_end_early_together(train_micro, train_child, make_settings, tmp_path):
    settings = make_settings(**RISING, trainer={"devices": 2})
    ended = train_child(settings, "two")
    assert ended.returncode == 0, ended.stderr
    one = train_micro(make_settings(**RISING), "one")
    assert max(validated(tmp_path / "two")) == max(validated(one)) < 60
    assert "stopped early after step" in ended.stdout


@pytest.mark.slow
def test_a_signal_at_the_early_end(train_child, train_micro, make_settings, read_files, tmp_path):
    settings = make_settings(**RISING)
    end = json.loads((train_micro(settings, "whole") / "facts.json").read_text())["step"]
    shutil.rmtree(tmp_path / "cache")
    stopped = train_child(settings, signal=signal.SIGTERM, at=end)
    assert stopped.returncode == 143
    assert read_files(train_micro(settings)) == read_files(tmp_path / "whole")


def test_an_epoch_with_batches_of_datasets_own(make_settings):
    """All pictures are seen equally often: 20 in batches of 4, and 5 in batches of 2."""
    settings, shown = make_settings(steps=None, epochs=4.0), split(25, 2, 2, 2, 2, 2)
    assert count_epoch(settings, shown) == 5 + Fraction(5, 2) and count_steps(settings, shown).steps == 30
    assert shown.list_batches(4) == [2, 4] and split(25).list_batches(4) == [4]
