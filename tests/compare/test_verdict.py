"""What a comparison says of planted measures."""

from pathlib import Path

import numpy as np
import pytest

from lorakiln.compare.entrants import Entrant
from lorakiln.compare.measuring import Measured, compare_pairs
from lorakiln.compare.table import HEADINGS, format_table, format_worth
from lorakiln.compare.verdict import decide, list_gaps
from lorakiln.worth.assessment import assess, find_most_followed
from lorakiln.worth.intervals import Estimate
from lorakiln.worth.measures import compare
from tests.worth.test_measures import make_measures

NOISE = np.random.default_rng(0).normal(0, 0.05, 24)
NOISE -= NOISE.mean()


def plant(*cases, prompts=24):
    """Each file's (learned, followed, ...); the base follows with 0.5."""
    noise = NOISE[:prompts]
    base = make_measures(noise, 0.5 + noise, prompts=prompts)
    measures = [
        make_measures(*[np.asarray(value) + noise for value in values[:2]], *values[2:], prompts=prompts)
        for values in cases
    ]
    most = find_most_followed([base, *measures])
    entrants = [
        Entrant(place, Path(f"{place}.safetensors"), f"file{place}", 1.0, "", "", 4, False)
        for place in range(len(cases))
    ]
    assessed = [assess(one, some, base, most) for one, some in zip(entrants, measures, strict=True)]
    pairs = compare_pairs(measures, most)
    return Measured([], assess(None, base, base, most), assessed, [], pairs, most, [], [])


def test_the_one_that_is_clearly_worth_most_is_named_and_what_comes_next():
    measured = plant((0.4, 0.5), (0.9, 0.5), (0.7, 0.5))
    verdict = decide(measured, None)
    assert verdict.best == 1 and verdict.alike == ()
    assert verdict.headline.startswith("B (file1) is clearly worth most. It shows 90% of what the training pictures")
    gap = compare(measured.assessed[1].measures, measured.assessed[2].measures, measured.most)
    assert verdict.more[0] == f"Next comes C, worth {gap.mean:.2f} less ({gap.low:.2f} to {gap.high:.2f})."
    assert verdict.more[1:] == ["A shows less than half of what the training pictures show."]


def test_what_cannot_be_told_apart_is_said_together():
    other = np.random.default_rng(3).normal(0, 0.2, 24)
    verdict = decide(plant((0.87 - other, 0.5), (0.4, 0.5), (0.9, 0.5)), None)
    assert (verdict.best, verdict.alike) == (2, (0,))
    assert verdict.headline.startswith("A and C cannot be told apart: look at the pictures. C shows 90%")
    assert not any("Next comes" in line for line in verdict.more)


def test_files_that_are_memorised_are_not_named_though_they_are_worth_more():
    copied = np.full(24, 0.6)
    verdict = decide(plant((0.95, 0.5, 1.0, copied), (0.8, 0.5)), None)
    assert verdict.best == 1 and "A is memorised: 60% of the pictures copy a training picture." in verdict.more
    verdict = decide(plant((0.95, 0.5, 1.0, copied), (0.8, 0.5, 1.0, copied)), None)
    assert verdict.best is None
    assert verdict.headline == (
        "None of them can be recommended: of A (file0) 60% of the pictures copy a training picture."
    )


def test_nothing_is_said_of_few_prompts_or_of_pictures_that_clip_does_not_know():
    assert decide(plant((0.9, 0.5), (0.2, 0.5), prompts=4), None).headline.startswith("Which is better cannot be told")
    verdict = decide(plant((0.9, 0.5), (0.2, 0.5)), "They are photographs.")
    assert "CLIP does not know" in verdict.headline and verdict.more == ["They are photographs."]
    weak = decide(plant((0.05, 0.5), (0.04, 0.5)), None)
    assert weak.headline == "None of them can be recommended: none has learned anything that can be shown."


def test_gaps_are_seen_from_either_side():
    measured = plant((0.4, 0.5), (0.9, 0.5))
    (forth,), (back,) = list_gaps(measured, 0), list_gaps(measured, 1)
    assert forth[0] == 1 and back[0] == 0
    assert forth[1].mean == -back[1].mean and (forth[1].low, forth[1].high) == (-back[1].high, -back[1].low)


@pytest.mark.parametrize("count", [2, 6])
def test_the_table_fits_a_terminal(count):
    measured = plant(*[(1 - 0.03 * place, 0.5) for place in range(count)])
    lines = format_table(measured, decide(measured, None)).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line[0] for line in lines[:count]] == [chr(ord("A") + place) for place in range(count)]
    assert lines[count].split() == ["worth", "(95%)", *HEADINGS[2:]]
    assert lines[count + 2].startswith(f"A    {format_worth(measured.assessed[0].worth)}")


def test_a_worth_of_one_prompt_has_no_interval():
    assert format_worth(Estimate(0.5, None, None, 1)) == "0.50"
