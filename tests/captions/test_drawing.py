"""What is drawn from a caption: the texts, how often each comes, and in which order the rules apply."""

from collections import Counter
from itertools import permutations
from math import factorial

import numpy as np
import pytest

from lorakiln.captions import count_texts, draw_text, find_distribution, make_plain_text
from lorakiln.captions.chance import RandomChance, Walk
from lorakiln.captions.drawing import count_shown
from lorakiln.console.errors import ConfigError
from lorakiln.schema.base import check
from lorakiln.schema.caption_rules import CaptionRules

KEPT = {"shuffle": True, "keep_separator": "|||"}
# Rules, templates, and the whole distribution by hand; what makes no draw is one text of probability 1.
TABLE = {
    "a caption as it stands": ({}, ["a  red, {x|y} cat,"], {"a  red, {x|y} cat,": 1}),
    "lines": ({}, ["red", "blue", "red"], {"red": 2 / 3, "blue": 1 / 3}),
    "wildcards": (
        {"wildcards": True},
        ["a {red|blue|} {{cat|dog}} {old|old|new}"],
        {
            f"a {colour} {{cat|dog}} {age}": share / 9
            for colour in ("red", "blue", "")
            for age, share in (("old", 2), ("new", 1))
        },
    ),
    "a brace without a partner": ({"wildcards": True}, ["}a {b"], {"}a {b": 1}),
    "a line, then its wildcards": (
        {"wildcards": True},
        ["a", "{b|c}"],
        {"a": 1 / 2, "b": 1 / 4, "c": 1 / 4},
    ),
    "shuffle": (
        {"shuffle": True},
        ["a,b ,  c"],
        {", ".join(tags): 1 / 6 for tags in permutations("abc")},
    ),
    "kept by their number": (
        {"shuffle": True, "keep_tags": 2},
        ["sks, 1girl, a, b"],
        {"sks, 1girl, a, b": 1 / 2, "sks, 1girl, b, a": 1 / 2},
    ),
    "kept by a separator": (KEPT, ["sks, x ||| a, b"], {"sks, x, a, b": 1 / 2, "sks, x, b, a": 1 / 2}),
    "kept at both ends": (
        KEPT,
        ["sks|||a, b|||best, last"],
        {"sks, a, b, best, last": 1 / 2, "sks, b, a, best, last": 1 / 2},
    ),
    "the number where there is no separator": (
        KEPT | {"keep_tags": 1},
        ["sks, a, b"],
        {"sks, a, b": 1 / 2, "sks, b, a": 1 / 2},
    ),
    "a separator that keeps, and nothing moves": ({"keep_separator": "|||"}, ["sks ||| a"], {"sks, a": 1}),
    "tags left out": (
        {"tag_dropout": 0.25, "keep_tags": 1},
        ["sks, a, b"],
        {"sks, a, b": 9 / 16, "sks, a": 3 / 16, "sks, b": 3 / 16, "sks": 1 / 16},
    ),
    "all tags left out": ({"tag_dropout": 1.0, "keep_tags": 1}, ["sks, a, b"], {"sks": 1}),
    "tags shuffled and left out": (
        {"shuffle": True, "tag_dropout": 0.5},
        ["a, b"],
        {"a, b": 1 / 8, "b, a": 1 / 8, "a": 1 / 4, "b": 1 / 4, "": 1 / 4},
    ),
    "tags that go together": (
        {"shuffle": True, "secondary_separator": ";;;"},
        ["a;;;b, c"],
        {"a,b, c": 1 / 2, "c, a,b": 1 / 2},
    ),
    "tags that go together, and nothing moves": ({"secondary_separator": ";;;"}, ["a;;;b, c"], {"a,b, c": 1}),
    "another separator": ({"shuffle": True, "separator": "/"}, ["a, b/c"], {"a, b, c": 1 / 2, "c, a, b": 1 / 2}),
    # What a wildcard gives is split like the rest.
    "wildcards before tags": (
        {"wildcards": True, "shuffle": True, "keep_tags": 1},
        ["sks, {a, b|c}"],
        {"sks, a, b": 1 / 4, "sks, b, a": 1 / 4, "sks, c": 1 / 2},
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_distribution_is_that_by_hand(name):
    given, templates, expected = TABLE[name]
    rules = CaptionRules(**given)
    found = find_distribution(templates, rules, 100)
    assert found == pytest.approx(expected) and sum(found.values()) == pytest.approx(1)
    assert count_texts(templates, rules, len(expected)) == len(expected)
    assert len(expected) == 1 or count_texts(templates, rules, len(expected) - 1) is None


@pytest.mark.parametrize("name", TABLE)
def test_draws_come_as_often_as_that(name):
    given, templates, expected = TABLE[name]
    chance, rules, times = RandomChance(np.random.default_rng(0)), CaptionRules(**given), 2000
    drawn = Counter(draw_text(templates, rules, chance) for _ in range(times))
    assert drawn.keys() <= expected.keys()
    for text, share in expected.items():
        # Five standard deviations of a binomial.
        assert abs(drawn[text] - times * share) <= 5 * (times * share * (1 - share)) ** 0.5 + 1e-9, text


PLAIN = {
    "wildcards": "a red {cat|dog} old",
    "lines": "red",
    "kept at both ends": "sks, a, b, best, last",
    "tags shuffled and left out": "a, b",
    "tags that go together": "a,b, c",
    "wildcards before tags": "sks, a, b",
    "a caption as it stands": "a  red, {x|y} cat,",
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_text_is_one_of_them_and_never_drawn(name):
    given, templates, expected = TABLE[name]
    assert make_plain_text(templates[0], CaptionRules(**given)) == PLAIN[name] in expected


def test_more_texts_than_can_be_counted():
    many = ", ".join(map(str, range(30)))
    assert count_texts([many], CaptionRules(shuffle=True), 50) is None
    five = ["a, b, c, d, e"]
    assert count_texts(five, CaptionRules(shuffle=True), 120) == factorial(5)
    assert count_texts(five, CaptionRules(tag_dropout=0.1), 100) == 2**5
    # One text, and more ways to it than are walked.
    assert count_texts([", ".join("a" * 10)], CaptionRules(shuffle=True), 16) is None


def test_warm_up_shows_more_tags_from_step_to_step():
    # sd-scripts: floor(step * ((tags - min) / steps)) + min, of those that are not kept.
    rules = CaptionRules(tag_warmup_steps=8, tag_warmup_least=1, keep_tags=1)
    shown = [draw_text(["sks, a, b, c, d, e"], rules, Walk(), step) for step in range(10)]
    counts = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert shown == [", ".join(["sks", *"abcde"[:count]]) for count in counts]
    assert count_shown(1, CaptionRules(tag_warmup_steps=8, tag_warmup_least=3), 0) == 1
    assert count_shown(7, CaptionRules(tag_warmup_steps=8, tag_warmup_least=0), 0) == 0
    # The first tags are shown, and shuffled then.
    rules = CaptionRules(tag_warmup_steps=4, tag_warmup_least=2, shuffle=True)
    assert {draw_text(["a, b, c, d"], rules, RandomChance(np.random.default_rng(n)), 0) for n in range(20)} == {
        "a, b",
        "b, a",
    }


REFUSED = {
    "keep_tags": ({"keep_tags": 1}, "keep_tags 1 has no meaning without shuffle, tag_dropout or tag_warmup_steps"),
    "tag_warmup_least": ({"tag_warmup_least": 3}, "tag_warmup_least 3 has no meaning without tag_warmup_steps"),
    "ahead": ({"tag_warmup_steps": 9, "mode": "variants"}, "cannot be embedded ahead: set mode to live or auto"),
    "one in another": (
        {"separator": ";", "secondary_separator": ";;;"},
        "one separator is part of another: ';', ';;;'",
    ),
    "the same": ({"keep_separator": "|", "secondary_separator": "|"}, "one separator is part of another"),
    "no separator": ({"separator": ""}, "at least 1 character"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_means_nothing_is_refused(name):
    given, message = REFUSED[name]
    with pytest.raises(ConfigError, match="(?s).*") as error:
        check(CaptionRules, given, "encode.captions")
    assert "encode.captions" in str(error.value) and message in str(error.value)
