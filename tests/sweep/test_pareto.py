import pytest

from lorakiln.sweep.pareto import choose_best, find_pareto_front


def test_the_front_is_what_nothing_beats_in_both():
    points = [(1.0, 5.0), (2.0, 4.0), (2.0, 3.0), (3.0, 1.0), (0.5, 5.0)]
    assert find_pareto_front(points) == [0, 1, 3]


def test_equal_points_stand_together():
    assert find_pareto_front([(1.0, 1.0), (1.0, 1.0)]) == [0, 1]
    assert find_pareto_front([]) == []


def test_the_best_has_the_best_mean_rank_on_the_front():
    # Ranks (from 0) in likeness and obedience: 0+3, 1+0, 2+1 (beaten), 3+2 (beaten)
    assert choose_best([(4.0, 1.0), (3.0, 9.0), (2.0, 8.0), (1.0, 7.0)]) == 1
    # A draw of ranks goes to the likeness.
    assert choose_best([(1.0, 2.0), (2.0, 1.0)]) == 1
    with pytest.raises(ValueError, match="no points"):
        choose_best([])
