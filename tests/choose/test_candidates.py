"""Which steps and weights are chosen among."""

from lorakiln.choose.candidates import Candidate, list_candidates, list_weights, space_evenly
from lorakiln.facts.run import SavedAdapter


def test_of_many_steps_some_are_looked_at_and_always_the_last():
    assert space_evenly(list(range(100, 1600, 100)), 5) == [300, 600, 900, 1200, 1500]
    assert space_evenly([1, 2, 3], 3) == [1, 2, 3]
    for count in range(1, 30):
        for most in range(1, count + 1):
            chosen = space_evenly(list(range(count)), most)
            assert len(set(chosen)) == most and chosen[-1] == count - 1 and chosen == sorted(chosen)


def test_every_step_at_every_weight_is_a_candidate():
    adapters = [SavedAdapter(step=step, file=f"{step}") for step in (20, 10)]
    expected = [Candidate(10, 0.5), Candidate(10, 1.0), Candidate(20, 0.5), Candidate(20, 1.0)]
    assert list_candidates(adapters, [1.0, 0.5, 0.5], 8) == expected
    assert list_candidates(adapters, [1.0], 1) == [Candidate(20, 1.0)]


def test_weights_that_are_all_greater_than_1_stand_beside_1():
    assert list_weights([3.0, 2.0]) == [1.0, 2.0, 3.0]
    assert list_weights([2.0, 0.9]) == [0.9, 2.0] and list_weights([0.6, 0.6]) == [0.6]
    adapters = [SavedAdapter(step=10, file="a")]
    assert list_candidates(adapters, [2.0], 8) == [Candidate(10, 1.0), Candidate(10, 2.0)]
