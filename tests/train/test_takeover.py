"""A job that takes over what another job of its sweep has trained."""

import pytest

from lorakiln.artefacts.json_files import read_json
from lorakiln.train.takeover import take_over
from tests.tracking.recorded import Recorded
from tests.tracking.test_tracker import offline  # noqa: F401 - a fixture


@pytest.fixture
def settings(make_settings):
    def make(name):
        return make_settings(
            checkpoint_every=4,
            save_every=6,
            validation={"every": 6, "fraction": 0.3, "draws": 2},
            samples={"every": 6, "steps": 1, "prompts": ["a red cat"]},
            tracker={"kind": "wandb", "name": name, "log_every": 3},
        )

    return make


def test_the_run_is_the_same_and_its_record_its_own(
    offline,  # noqa: F811 - the fixture
    settings,
    train_micro,
    micro_encoded,
    micro_model,
    tmp_path,
    read_files,
):
    one, other = train_micro(settings("strength=1"), "one/run"), tmp_path / "other/run"
    take_over(one, micro_encoded, other, settings("strength=0.5"), micro_model, tmp_path)
    ours, theirs = read_files(other), read_files(one)
    assert read_json(other / "facts.json")["settings"]["train"]["tracker"]["name"] == "strength=0.5"
    assert {**ours, "facts.json": b""} == {**theirs, "facts.json": b""}
    # Nothing is told of the pace by it.
    assert read_json(other / "provenance.json")["steps_here"] == 0
    found, ids = Recorded(tmp_path), [read_json(run / "tracker.json")["id"] for run in (one, other)]
    assert [found.runs[one]["name"] for one in ids] == ["strength=1", "strength=0.5"]
    told = [found.history[name] for name in ids]
    for name in ("loss", "lr", "grad_norm", "validation_loss"):
        one, other = ([(row["step"], row[name]) for row in rows if name in row] for rows in told)
        # Of nine digits, which tell any two float32 apart.
        assert other == [(step, pytest.approx(value, rel=1e-8)) for step, value in one] and other
    assert [[row["step"] for row in rows if "samples/captions" in row] for rows in told] == [[0, 6, 12]] * 2
    # The table grows: the last one holds all.
    tables = [[row["samples_by_step/nrows"] for row in rows if "samples_by_step/nrows" in row] for rows in told]
    assert tables == [[1, 2, 3], [3]]
