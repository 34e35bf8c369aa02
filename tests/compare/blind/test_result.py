"""How often each file won, and how often the measures agree."""

from dataclasses import replace

import numpy as np
import pytest

from lorakiln.compare.blind.questions import Question
from lorakiln.compare.blind.result import describe_result, sum_up
from lorakiln.metrics import Prompt, Shot
from lorakiln.worth.intervals import compute_wilson_fraction
from tests.compare.test_verdict import plant


def ask(prompt, places=(0, 1)):
    shots = [Shot(Prompt(prompt, "", ""), True, 0, 1.0, 8, 8, f"{prompt}-{place}") for place in places]
    return Question(f"{prompt}{places}", *shots, places)


def test_the_shares_and_their_intervals_count_prompts():
    assessed = plant((0.9, 0.5), (0.4, 0.5)).assessed
    questions = [ask(prompt) for prompt in range(10)]
    given = {one.key: "right" if number < 2 else "left" for number, one in enumerate(questions[:9])}
    given[questions[8].key] = "equal"
    result = sum_up(questions, given, assessed)
    shares = [0, 0, 1, 1, 1, 1, 1, 1, 0.5]
    assert result.won[0] == compute_wilson_fraction(np.array(shares))
    assert result.won[1].mean == pytest.approx(1 - result.won[0].mean)
    # The first is worth more; an equal one says nothing of the measures.
    assert result.agreeing == compute_wilson_fraction(np.array([0.0, 0, 1, 1, 1, 1, 1, 1]))
    assert (result.answers, result.equal) == (9, 1)
    lines = describe_result(result, assessed)
    assert lines[0] == "9 answers, 1 of them equal" and lines[1].startswith("A (file0) won 72% (")
    assert lines[-1].startswith("the measures agree with 75% (")


def test_the_side_a_file_stands_at_does_not_matter():
    assessed = plant((0.9, 0.5), (0.4, 0.5)).assessed
    questions = [ask(0), ask(1, (1, 0))]
    result = sum_up(questions, {questions[0].key: "left", questions[1].key: "right"}, assessed)
    assert result.won[0].mean == 1 and result.won[1].mean == 0 and result.agreeing.mean == 1


def test_seeds_of_one_prompt_are_one_draw():
    assessed = plant((0.9, 0.5), (0.4, 0.5)).assessed
    twice = [ask(0), replace(ask(0), key="again")]
    result = sum_up(twice, {one.key: "left" for one in twice}, assessed)
    assert result.won[0].prompts == 1


def test_of_no_answer_nothing_is_told():
    assessed = plant((0.9, 0.5), (0.4, 0.5)).assessed
    assert describe_result(sum_up([ask(0)], {}, assessed), assessed) == ["nothing was answered"]
