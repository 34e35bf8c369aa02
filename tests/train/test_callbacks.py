from fractions import Fraction

import pytest

from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.fingerprint import list_changes
from lorakiln.train.length import find_due_work
from lorakiln.train.record import write_csv
from lorakiln.train.sample_pictures import choose_sample_prompts, describe_samples


@pytest.fixture
def settings(make_settings):
    return make_settings(
        steps=20,
        save_every=6,
        checkpoint_every=4,
        validation={"every": 5},
        samples={"every": 10},
        tracker={"log_every": 3},
    )


def test_what_is_due_when(settings):
    def when(name, last=20):
        return [step for step in range(1, last + 1) if getattr(find_due_work(step, settings, Fraction(1)), name)]

    assert when("row") == [3, 6, 9, 12, 15, 18, 20]
    assert when("adapter") == [6, 12, 18, 20]
    assert when("validation") == [5, 6, 10, 12, 15, 18, 20]
    assert when("samples") == [10, 20]
    assert when("checkpoint") == [4, 8, 12, 16]


def test_what_is_never_due(make_settings):
    settings = make_settings(steps=9, save_every=0)
    assert not any(any(find_due_work(step, settings, Fraction(1))[1:]) for step in range(1, 9))
    last = find_due_work(9, settings, Fraction(1))
    assert last.adapter and last.row
    assert not (last.samples or last.validation or last.checkpoint)


def test_sample_prompts(micro_encoded, make_settings):
    encoded = EncodedDataset.read(micro_encoded)
    own = make_settings(samples={"prompts": ["{trigger} on a hill", "a dog"]}).samples
    assert choose_sample_prompts(encoded, own, [[0], []]) == ["sks on a hill", "a dog"]
    captions = choose_sample_prompts(encoded, make_settings().samples, [[1, 2, 3], [0]])
    # Equal captions are drawn once.
    assert captions == ["sks", "sks, a blue cat", "sks, a green cat", "sks, a old cat"]
    assert choose_sample_prompts(encoded, make_settings().samples, [[0], [0]]) == ["sks", "sks, a red cat"]


def test_the_plan_says_what_is_drawn_and_which_of_it_nobody_wrote(micro_encoded, make_settings):
    encoded = EncodedDataset.read(micro_encoded)
    captions = make_settings(samples={"every": 5}).samples
    told = describe_samples(encoded, captions, [[1, 2, 3], [0]])
    assert told.startswith("every 5 steps: sks; sks, a blue cat; sks, a green cat; sks, a old cat")
    assert "2 of 4 are the captioner's words; train.samples.prompts sets others" in told
    own = make_settings(samples={"every": 5, "prompts": ["{trigger} on a hill"]}).samples
    assert describe_samples(encoded, own, [[0], []]) == "every 5 steps: sks on a hill"
    assert describe_samples(encoded, make_settings(samples={"every": 0}).samples, [[0], []]) == "none"


def test_differences_are_told_by_path():
    before = {"a": {"b": 1, "c": [1]}, "gone": True}
    now = {"a": {"b": 2, "c": [1]}, "new": None}
    assert list_changes(before, now) == ["a.b: 1 -> 2", "gone: True -> absent", "new: absent -> None"]


def test_rows_are_written_so_that_equal_numbers_are_equal_bytes(tmp_path):
    rows = [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 1.1754943508222875e-38}]
    write_csv(tmp_path / "a.csv", ("step", "loss"), rows)
    assert (tmp_path / "a.csv").read_bytes() == b"step,loss\n1,0.1\n2,1.17549435e-38\n"
