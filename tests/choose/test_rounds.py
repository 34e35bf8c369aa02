"""How many pictures a choice draws."""

import pytest

from lorakiln.choose.candidates import Candidate
from lorakiln.choose.rounds import FIRST, Rounds, order_prompts


def candidates(count):
    return [Candidate(step, 1.0) for step in range(count)]


def test_the_weaker_two_thirds_are_left_out_and_the_rest_gets_more_prompts():
    assert list(Rounds(candidates(15), 24, halving=True)) == [(15, 6), (5, 12), (3, 24)]
    assert list(Rounds(candidates(30), 96, halving=True)) == [(30, 6), (10, 12), (4, 24), (3, 96)]


@pytest.mark.parametrize(("count", "prompts", "halving"), [(3, 24, True), (15, 24, False), (15, FIRST, True)])
def test_few_candidates_few_prompts_or_all_asked_for_is_one_round(count, prompts, halving):
    assert list(Rounds(candidates(count), prompts, halving)) == [(count, prompts)]


def test_a_choice_is_counted_before_it_is_drawn():
    # The report draws the demo's 52 prompts with four seeds, by one file and by the base, and more for its grids.
    halved = Rounds(candidates(15), 24, halving=True).count_pictures(seeds=2, bare=0)
    assert halved == 2 * (15 * 6 + 5 * 6 + 3 * 12 + 24) == 360 < 2 * 52 * 4
    # The base and the three of the last round are drawn without the trigger words, too.
    assert Rounds(candidates(15), 24, halving=True).count_pictures(seeds=2, bare=4) == halved + 2 * 4 * (3 + 1)
    assert Rounds(candidates(15), 24, halving=False).count_pictures(seeds=2, bare=0) == 2 * (15 * 24 + 24)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 8, 24, 40, 52, 97])
@pytest.mark.parametrize("most", [2, 6, 24, 50])
def test_prompts_are_taken_once_each_and_the_first_few_from_everywhere(count, most):
    order = order_prompts(count, most)
    assert len(order) == len(set(order)) == min(count, most) and max(order) < count
    if len(order) > 2 * FIRST:
        gaps = sorted(order[:FIRST])
        assert max(b - a for a, b in zip(gaps, gaps[1:], strict=False)) <= count / 2
