from lorakiln.console.counts import format_count


def test_one_is_one_and_all_others_are_many():
    told = [format_count(*given) for given in ((0, "picture"), (1, "picture"), (2, "hand edit"), (1234, "text", ","))]
    assert told == ["0 pictures", "1 picture", "2 hand edits", "1,234 texts"]
    assert [format_count(count, noun) for noun in ("box", "branch") for count in (1, 2)] == [
        "1 box",
        "2 boxes",
        "1 branch",
        "2 branches",
    ]
