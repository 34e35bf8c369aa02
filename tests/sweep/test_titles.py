from lorakiln.sweep.titles import LONGEST, format_spans, make_short_titles


def test_titles_are_as_short_as_they_can_be():
    long = [["train.adapter.rank=4", "train/scheduler=cosine"], ["train.adapter.rank=16", "train/scheduler=linear"]]
    assert make_short_titles(long) == ["rank=4 scheduler=cosine", "rank=16 scheduler=linear"]
    assert make_short_titles([["train.seed=1", "evaluate.seed=2"]]) == ["train.seed=1 evaluate.seed=2"]
    assert make_short_titles([["no override"]]) == ["no override"]


def test_a_value_with_spaces_stays_whole_and_a_long_one_keeps_its_ends():
    assert make_short_titles([['train.samples.prompts=["a cat, blue"]', "train.seed=1"]]) == [
        'prompts=["a cat, blue"] seed=1'
    ]
    (title,) = make_short_titles([["train.x=" + "a" * 60 + "b" * 60]])
    assert title == "x=" + "a" * 24 + "…" + "b" * 23 and len(title) == 2 + LONGEST


def test_numbers_in_few_letters():
    assert (format_spans([5, 0, 1, 2]), format_spans([3]), format_spans([])) == ("0-2, 5", "3", "")
