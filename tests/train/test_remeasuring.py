"""What the tracker is told of a run that goes on."""

import shutil

import pytest

from lorakiln.artefacts.json_files import read_json
from lorakiln.train.remeasuring import list_changed_recordings, select_recording
from tests.tracking.recorded import Recorded
from tests.tracking.test_tracker import offline  # noqa: F401 - a fixture


@pytest.fixture
def settings(make_settings):
    def make(kind="wandb", **changes):
        return make_settings(
            **{
                "checkpoint_every": 4,
                "validation": {"every": 4, "fraction": 0.3, "draws": 1},
                "samples": {"every": 4, "steps": 1, "prompts": ["a red cat"]},
                "tracker": {"kind": kind, "log_every": 1},
                **changes,
            }
        )

    return make


def told(rows):
    """Steps of rows, losses and samples."""
    return [[row["step"] for row in rows if name in row] for name in ("loss", "validation_loss", "samples/captions")]


def test_a_finished_run_that_goes_on_is_another_with_all_its_curves(offline, settings, train_micro):  # noqa: F811
    first, second = train_micro(settings(steps=8), "first"), train_micro(settings(steps=12), "second")
    one, other = (read_json(run / "tracker.json")["id"] for run in (first, second))
    found = Recorded(offline).history
    assert told(found[one]) == [list(range(1, 9)), [0, 4, 8], [0, 4, 8]]
    assert told(found[other]) == [list(range(1, 13)), [0, 4, 8, 12], [0, 4, 8, 12]]
    # Of each step all that was known of it.
    rows = {row["step"]: set(row) for row in found[other] if "loss" in row}
    assert rows[5] >= {"lora_norm/mid_block", "loss_smoothed", "pictures_per_second"} and set(rows[5]) >= rows[12] - {
        name for name in rows[12] if name.startswith("loss_quarter/")
    }


def test_a_shorter_run_beside_an_interrupted_one_is_another(offline, settings, train_killed, train_micro):  # noqa: F811
    train_killed(settings(), at=9)
    (long,) = {path.name[-8:] for path in (offline / "wandb").glob("offline-run-*")}
    short = read_json(train_micro(settings(steps=5), "short") / "tracker.json")["id"]
    again = read_json(train_micro(settings(), "long") / "tracker.json")["id"]
    assert short != long == again


def test_another_recording_begins_another_record(offline, settings, train_killed, train_micro):  # noqa: F811
    train_killed(settings(), at=9)
    (before,) = {path.name[-8:] for path in (offline / "wandb").glob("offline-run-*")}
    changed = settings(validation={"every": 4, "fraction": 0.3, "draws": 3})
    now = read_json(train_micro(changed) / "tracker.json")["id"]
    shutil.rmtree(next((offline / "wandb").glob(f"*{before}")))
    # Step 4 and 8 have no saved adapter: their losses of one draw are in no record.
    assert now != before and told(Recorded(offline).history[now])[:2] == [list(range(1, 13)), [0, 12]]


def test_tensorboard_shows_every_step_once(offline, settings, train_killed, train_micro):  # noqa: F811
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_killed(settings("tensorboard"), at=11)
    train_micro(settings("tensorboard"))
    (folder,) = (offline / "tensorboard").iterdir()
    assert len(list(folder.iterdir())) == 2
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 13))
    assert [event.step for event in events.Scalars("validation_loss")] == [0, 4, 8, 12]


def test_what_a_checkpoint_does_not_say_of_its_recording_is_the_same(settings, micro_model):
    recording = select_recording(settings(), micro_model)
    larger = micro_model.model_copy(update={"resolution": 48})
    assert list_changed_recordings({"recording": recording}, settings(), micro_model) == []
    assert list_changed_recordings({"recording": recording}, settings(), larger) == ["samples"]
    del recording["samples"]["resolution"]  # as earlier versions have written it
    assert list_changed_recordings({"recording": recording}, settings(), larger) == []
    assert list_changed_recordings({}, settings(), larger) == []
