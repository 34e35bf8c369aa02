import pytest
import torch

from lorakiln.console.errors import UserError
from lorakiln.sampling.prompt_weights import WeightedPrompts, parse_prompt


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("", []),
        ("a (red:1.5) cat", [("a ", 1.0), ("red", 1.5), (" cat", 1.0)]),
        ("(red)", [("red", 1.1)]),
        ("((red))", [("red", 1.1 * 1.1)]),
        ("[red]", [("red", 1 / 1.1)]),
        ("(a (red:2) cat:0.5)", [("a ", 0.5), ("red", 1.0), (" cat", 0.5)]),
        (r"a \(red\) cat", [("a (red) cat", 1.0)]),
        ("a (red", [("a ", 1.0), ("red", 1.1)]),
        ("red) cat]", [("red) cat]", 1.0)]),
        ("time: 10:30", [("time: 10:30", 1.0)]),
        ("(red:-0.5)", [("red", -0.5)]),
    ],
)
def test_brackets(prompt, expected):
    found = parse_prompt(prompt)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="is no weight"):
        parse_prompt("(red:1.2.3)")


def test_only_the_weighted_words_tokens_change(micro_family):
    both = micro_family.encode_prompts(["red cat", "red cat"])["prompt_embeds"]
    assert torch.equal(WeightedPrompts(micro_family).encode_prompts(["red cat", "red cat"])["prompt_embeds"], both)
    found = WeightedPrompts(micro_family).encode_prompts(["(red:2) cat", "red cat"])["prompt_embeds"]
    assert torch.equal(found[1], both[1])
    # The micro tokenizer has "red" and "cat" as one token each, behind the begin token.
    empty = micro_family.encode_prompts([""])["prompt_embeds"][0]
    expected = both[0].clone()
    expected[1] = empty[1] + 2 * (expected[1] - empty[1])
    torch.testing.assert_close(found[0], expected)
    assert not torch.equal(found[0][1], both[0][1])


@pytest.mark.parametrize(
    "touching", ["(ca:2)t red", "r(ed:2)", "(red:2)(cat:3) red", "(a:2)(re:3)d", "(red:2), cat", ""]
)
def test_a_bracket_that_touches_a_word_cuts_it(micro_family, touching):
    """Each fragment keeps the tokens that it has alone, and its weight lands on these."""
    fragments = parse_prompt(touching)
    apart = " ".join(text for text, _ in fragments)
    counts = [micro_family.count_tokens(text) for text, _ in fragments]
    assert micro_family.count_tokens(apart) == sum(counts)
    weights = [weight for (_, weight), count in zip(fragments, counts, strict=True) for _ in range(count)]
    expected = micro_family.encode_prompts([apart])["prompt_embeds"][0].clone()
    empty = micro_family.encode_prompts([""])["prompt_embeds"][0]
    for at, weight in enumerate(weights, 1):
        expected[at] = empty[at] + weight * (expected[at] - empty[at])
    found = WeightedPrompts(micro_family).encode_prompts([touching])["prompt_embeds"][0]
    torch.testing.assert_close(found, expected)


def test_what_is_cut_off_is_told_without_brackets(micro_family):
    assert WeightedPrompts(micro_family).unread("(red:2) " * 30 + "(blue:1.5) cat") == "blue cat"
    assert WeightedPrompts(micro_family).unread("(red:2) " * 30) == ""
