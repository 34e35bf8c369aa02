import pytest
import torch

from lorakiln.artefacts.hashing import hash_data
from lorakiln.console.errors import UserError
from lorakiln.schema.marks import Decides, walk
from lorakiln.schema.train import ValidationSettings
from lorakiln.train.encoded_dataset import Bucket
from lorakiln.train.validation_split import count_held_out, hold_out
from tests.made_facts import encoded_row


def buckets(*shas):
    none = torch.zeros(0)
    return [Bucket(str(i), [encoded_row(sha256=sha) for sha in names], none, none, {}) for i, names in enumerate(shas)]


def pictures(count, start=0):
    return [hash_data(number) for number in range(start, start + count)]


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        *((1, 0.1, 0), (5, 0.1, 0), (6, 0.1, 1), (14, 0.1, 1), (15, 0.1, 2), (25, 0.1, 2), (100, 0.1, 10)),
        *((7, 0.05, 0), (8, 0.05, 1), (100, 0, 0)),
    ],
)
def test_how_many_are_held_out(count, fraction, expected):
    settings = ValidationSettings(fraction=fraction)
    assert count_held_out(count, settings) == expected
    split = hold_out(buckets(pictures(count)), settings)
    assert (split.held_out_count, split.trained_count) == (expected, count - expected)


def test_without_validation_all_are_trained_on():
    assert hold_out(buckets(pictures(20)), ValidationSettings(every=0)).trained == [list(range(20))]


def test_what_says_that_it_decides_who_is_held_out_does():
    before, changes = ValidationSettings(), {"every": 0, "fraction": 0.5, "draws": 1, "seed": 1}
    assert changes.keys() == ValidationSettings.model_fields.keys()
    shown = buckets(pictures(40))
    splits = {name: hold_out(shown, before.model_copy(update={name: value})) for name, value in changes.items()}
    found = {name for name, split in splits.items() if split.held_out != hold_out(shown, before).held_out}
    assert found == {one.path for one in walk(ValidationSettings) if one.marks.decides & Decides.HELD_OUT}


def test_the_trainings_own_seed_moves_no_picture(make_module):
    """So that the losses of jobs that differ in it are of the same pictures."""
    watched = {"every": 5, "fraction": 0.3}
    trained = [
        [rows.tolist() for rows in make_module(seed=seed, validation={**watched, "seed": other}).trained]
        for seed, other in ((0, 0), (1, 0), (2, 0), (0, 4))
    ]
    assert trained[0] == trained[1] == trained[2] != trained[3]


def test_each_picture_is_on_one_side_and_the_seed_decides_which():
    sorted_rows = buckets(pictures(30), pictures(20, 30))
    splits = [hold_out(sorted_rows, ValidationSettings(fraction=0.3, seed=seed)) for seed in (0, 0, 1)]
    for split in splits:
        for bucket, trained, held_out in zip(sorted_rows, split.trained, split.held_out, strict=True):
            assert sorted(trained + held_out) == list(range(len(bucket.rows)))
    assert splits[0] == splits[1] != splits[2]


def test_equal_pictures_are_on_one_side():
    names = pictures(20)
    sorted_rows = buckets(names, names)
    for seed in range(10):
        split = hold_out(sorted_rows, ValidationSettings(fraction=0.25, seed=seed))
        assert split.held_out[0] == split.held_out[1]
        assert split.held_out_count == 10


def test_pictures_that_look_the_same_are_on_one_side():
    names = pictures(20)
    none = torch.zeros(0)
    # Each second looks like the one before it.
    rows = [encoded_row(sha256=name, twin=names[number - number % 2]) for number, name in enumerate(names)]
    for seed in range(10):
        held_out = hold_out([Bucket("0", rows, none, none, {})], ValidationSettings(fraction=0.25, seed=seed)).held_out[
            0
        ]
        assert len(held_out) == 4 and {number ^ 1 for number in held_out} == set(held_out)


def test_one_more_picture_moves_at_most_one():
    settings = ValidationSettings(fraction=0.1)
    before = hold_out(buckets(pictures(40)), settings).held_out[0]
    after = hold_out(buckets(pictures(41)), settings).held_out[0]
    assert len(set(before) ^ set(after)) <= 2


def test_one_is_left_to_train_on():
    split = hold_out(buckets(pictures(2)), ValidationSettings(fraction=0.99))
    assert split.trained_count == 1


def test_no_pictures():
    with pytest.raises(UserError, match="no pictures"):
        hold_out(buckets([]), ValidationSettings())
