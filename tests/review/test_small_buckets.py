"""Buckets of fewer pictures than a batch, as the training will find them; and what a bucket cuts off."""

from dataclasses import replace

from lorakiln.cli.review import read_rules
from lorakiln.review.collection import Rules, open_collection
from lorakiln.review.editing import Editor
from lorakiln.review.small_buckets import TrainedPicture, describe_small_buckets
from lorakiln.schema.prepare import FindingSettings
from lorakiln.schema.subset_rules import SubsetRules
from lorakiln.schema.train import ValidationSettings
from lorakiln.schema.whole_config import check_whole
from lorakiln.sources import Subset
from pipelines.compose import compose_config, format_resolved


def make(count, likeness="", **subset):
    return [TrainedPicture(likeness and f"{likeness}{number}", Subset(**subset)) for number in range(count)]


def test_each_small_bucket_is_told_with_its_own_batch():
    rules = SubsetRules(batch_size=8)
    buckets = {"64x64": make(4), "48x80": make(1), "80x48": make(3, rules=rules) + make(2, repeats=10)}
    assert describe_small_buckets(buckets, 4, ValidationSettings()) == {
        "48x80": "1 to train on, fewer than a batch of 4",
        "80x48": "3 to train on, fewer than a batch of 8; 2 to train on, fewer than a batch of 4",
    }
    # Of nothing but regularisation pictures nothing is trained.
    assert describe_small_buckets({"64x64": make(1, is_reg=True)}, 4, ValidationSettings()) == {}


def test_what_is_held_out_counts_where_all_is_known_of_it():
    known = {"64x64": make(10, "a")}
    assert describe_small_buckets(known, 10, ValidationSettings()) == {
        "64x64": "9 to train on, fewer than a batch of 10"
    }
    assert describe_small_buckets(known, 10, ValidationSettings(every=0)) == {}
    some = {"64x64": make(9, "a") + make(1)}
    assert describe_small_buckets(some, 10, ValidationSettings()) == {}


def test_a_change_that_takes_a_picture_out_of_a_bucket_counts_at_once(raw, rules):
    collection = open_collection(raw, replace(rules, batch=2))
    alone = {"48x80": "1 to train on, fewer than a batch of 2", "80x48": "1 to train on, fewer than a batch of 2"}
    assert collection.describe_small_buckets() == alone
    Editor(collection).change({"a.png": {"excluded": True}})
    assert collection.describe_small_buckets() == {**alone, "64x64": "1 to train on, fewer than a batch of 2"}
    off = rules.prepare.model_copy(update={"findings": FindingSettings(small_bucket="off")})
    assert open_collection(raw, Rules(off, batch=2)).describe_small_buckets() == {}
    assert open_collection(raw, rules).describe_small_buckets() == {}  # nothing is known of the training


def test_what_a_bucket_cuts_off_is_told_until_it_is_cropped_by_hand(raw, rules):
    settings = rules.prepare.model_copy(update={"cropped_above": 0.1})
    bucket = settings.bucket.model_copy(update={"enable": False})
    collection = open_collection(raw, Rules(settings.model_copy(update={"bucket": bucket})))
    assert collection.pictures["b.png"].findings == ("cropped (40% of it)",)
    assert collection.pictures["a.png"].findings == ()
    Editor(collection).change({"b.png": {"crop": [0, 0, 96, 96]}})
    assert collection.pictures["b.png"].findings == ()
    off = settings.model_copy(update={"bucket": bucket, "findings": FindingSettings(cropped="off")})
    assert open_collection(raw, Rules(off)).pictures["deep/c.jpg"].findings == ()


def test_the_command_takes_the_batch_and_what_is_held_out_from_the_config(tmp_path):
    config = compose_config(["prepare.dataset=demo", "train.batch_size=3", "train.validation.seed=7"])
    (tmp_path / "resolved.yaml").write_text(format_resolved(check_whole(config), None))
    rules = read_rules(tmp_path / "resolved.yaml", "raw")
    assert (rules.batch, rules.validation.seed) == (3, 7)
