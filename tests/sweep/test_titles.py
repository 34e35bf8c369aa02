from lorakiln.sweep.titles import short_titles


def test_titles_are_as_short_as_they_can_be():
    long = ["train.adapter.rank=4 train/scheduler=cosine", "train.adapter.rank=16 train/scheduler=linear"]
    assert short_titles(long) == ["rank=4 scheduler=cosine", "rank=16 scheduler=linear"]
    assert short_titles(["train.seed=1 evaluate.seed=2"]) == ["train.seed=1 evaluate.seed=2"]
    assert short_titles(["no override"]) == ["no override"]
