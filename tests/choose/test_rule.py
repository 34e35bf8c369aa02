"""Which step and weight the rule recommends, and what it says of planted cases."""

import numpy as np
import pytest

from lorakiln.choose.candidates import Candidate
from lorakiln.choose.rule import decide, rank, to_facts
from lorakiln.worth.assessment import explain_state
from lorakiln.worth.intervals import Estimate
from tests.worth.test_measures import make_measures

NOISE = np.random.default_rng(0).normal(0, 0.05, 24)
NOISE -= NOISE.mean()
BASE = make_measures(NOISE, 0.5 + NOISE, prompts=24)


def plant(**cases):
    """Measures by candidate, called by step and weight: s300w1 = (learned, followed, ...)."""
    found = {}
    for name, values in cases.items():
        step, weight = name.removeprefix("s").split("w")
        columns = [np.asarray(value) + NOISE for value in values[:2]] + list(values[2:])
        moved = columns.pop() if len(columns) > 5 else 0.5
        found[Candidate(int(step), float(weight.replace("_", ".")))] = make_measures(*columns, prompts=24, moved=moved)
    return found


def states(decision):
    return {(one.candidate.step, one.candidate.weight): one.state for one in decision.assessed}


def test_the_step_that_has_learned_and_still_follows_is_recommended():
    decision = decide(plant(s100w1=(0.3, 0.5), s200w1=(0.9, 0.48), s300w1=(0.95, 0.2)), BASE)
    assert decision.best.candidate == Candidate(200, 1.0)
    assert decision.headline.startswith("Use step 200 at weight 1.00. It shows 90% of what the training pictures show")
    assert states(decision) == {(100, 1): "underfitted", (200, 1): "good", (300, 1): "overfitted"}
    assert any(
        "Fewer steps would do (train.steps=200): step 300 follows the prompt worse" in one for one in decision.advice
    )


def test_weights_that_cannot_be_told_apart_are_a_range_and_other_steps_are_named():
    other = np.random.default_rng(3).normal(0, 0.2, 24)
    cases = plant(s200w0_6=(0.5, 0.5), s200w0_8=(0.88 + other, 0.5), s200w1=(0.9, 0.5), s300w1=(0.87 - other, 0.5))
    decision = decide(cases, BASE)
    assert (decision.low, decision.high) == (0.8, 1.0) and decision.best.candidate == Candidate(200, 1.0)
    assert "; 0.80 to 1.00 are as good as can be told" in decision.headline
    assert decision.rivals == ["The measures cannot tell it apart from step 300 at weight 1.00: look at the grid."]


def test_what_comes_next_is_told_with_how_much_less_it_is_worth():
    decision = decide(plant(s100w1=(0.4, 0.5), s200w1=(0.9, 0.5)), BASE)
    (told,) = decision.rivals
    assert told.startswith("Next comes step 100 at weight 1.00, worth 0.50 less (")
    assert decision.advice == ["Train longer (train.steps): the last step is clearly worth more than step 100."]


def test_of_equals_the_earlier_step_and_the_lower_weight_is_taken():
    cases = plant(s200w1=(0.9, 0.5), s100w1=(0.9, 0.5), s100w0_8=(0.9, 0.5))
    assert rank(cases, BASE)[0] == decide(cases, BASE).best.candidate == Candidate(100, 0.8)


def test_memorised_and_broken_ones_are_not_recommended_though_they_are_worth_more():
    cases = plant(
        s100w1=(0.7, 0.5), s200w1=(0.95, 0.5, 1.0, 0.9), s300w1=(0.95, 0.5, 0.2), s400w1=(0.95, 0.5, 1.0, 0.0, 0.25)
    )
    decision = decide(cases, BASE)
    assert states(decision) == {
        (100, 1): "good",
        (200, 1): "memorised",
        (300, 1): "unsteady",
        (400, 1): "broken",
    }
    assert decision.best.candidate == Candidate(100, 1.0)
    assert any(one.startswith("More pictures, or fewer steps: at step 200") for one in decision.advice)


def test_what_copies_another_training_picture_by_each_seed_is_memorised_and_no_debris():
    decision = decide(plant(s100w1=(0.7, 0.5), s200w1=(0.95, 0.5, 0.2, 0.9), s300w1=(0.95, 0.5, 0.2)), BASE)
    assert states(decision) == {(100, 1): "good", (200, 1): "memorised", (300, 1): "unsteady"}


def test_where_none_is_any_good_the_reason_is_that_of_the_one_that_shows_most():
    """An early step is worth more by its prompts, which a training that ends in copies follows no longer."""
    cases = plant(s100w1=(0.43, 0.5, 1.0, 0.1, 0.75), s200w1=(0.92, 0.0, 1.0, 0.6))
    decision = decide(cases, BASE)
    assert states(decision) == {(100, 1): "broken", (200, 1): "memorised"}
    assert decision.headline == "No saved step can be recommended: 60% of the pictures copy a training picture."
    # No step count is recommended by what may not be used.
    decision = decide(plant(s100w1=(0.43, 0.5, 1.0, 0.1, 0.75), s200w1=(0.92, 0.4, 1.0, 0.6)), BASE)
    (told,) = decision.advice
    assert told.startswith("More pictures, or fewer steps: at step 200")


def test_what_is_broken_stands_for_nothing_else():
    decision = decide(plant(s200w0_7=(0.7, 0.5, 0.2), s200w1=(0.9, 0.5, 0.2, 0.0, 0.3)), BASE)
    assert states(decision) == {(200, 0.7): "unsteady", (200, 1): "broken"}
    assert decision.headline.startswith("No saved step can be recommended: of step 200 at weight 0.70")
    assert len(decision.advice) == 1 and "each seed shows something else" in decision.advice[0]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ((0.05, 0.5), "none has learned anything that can be shown."),
        ((0.95, 0.5, 1.0, 0.9), "90% of the pictures copy a training picture."),
        ((0.95, 0.5, 1.0, 0.0, 0.5), "50% of the pictures are burnt, noisy or mottled."),
        (
            (0.95, 0.5, 0.3),
            "of step 100 at weight 1.00, which has come furthest, in 100% of the prompts each seed shows something "
            "else.",
        ),
        (
            (0.0, 0.5, 1.0, 0.0, 0.0, 2.0),
            "the pictures have left the base's (2.0 times as far as another seed's are) and show 0% of what the "
            "training pictures show.",
        ),
    ],
)
def test_where_no_step_is_any_good_none_is_recommended(values, why):
    decision = decide(plant(s100w1=values, s200w1=values), BASE)
    assert decision.best is None and decision.headline == f"No saved step can be recommended: {why}"


def test_what_is_too_weak_is_not_recommended_before_what_is_further_and_not_steady_yet():
    """LoKr after 1,000 steps: half of its pictures were right where the rule took one that had none."""
    cases = plant(
        s400w0_7=(0.45, 0.5, 0.3), s400w1=(0.66, 0.5, 0.32), s1000w0_7=(0.4, 0.5, 0.38), s1000w1=(0.75, 0.5, 0.4)
    )
    decision = decide(cases, BASE)
    assert states(decision) == {
        (400, 0.7): "underfitted",
        (400, 1): "unsteady",
        (1000, 0.7): "underfitted",
        (1000, 1): "unsteady",
    }
    assert decision.best is None and not decision.rivals
    assert decision.headline == (
        "No saved step can be recommended: of step 1000 at weight 1.00, which has come furthest, in 100% of the "
        "prompts each seed shows something else."
    )
    assert decision.advice == [
        "Train longer or stronger (train.steps, train.optimizer.lr, train.adapter.rank): the seeds of a prompt agree "
        "more from step to step, 64% at the first and 80% at the last."
    ]
    # Debris agrees as little at the end as at the beginning.
    (told,) = decide(plant(s400w1=(0.66, 0.5, 0.3), s1000w1=(0.75, 0.5, 0.3)), BASE).advice
    assert told.startswith(
        "A lower rate (train.optimizer.lr), a higher rank where it is small (train.adapter.rank), or"
    )
    assert told.endswith(" or other pictures and captions: in 100% of the prompts each seed shows something else.")
    # A usable one that is not too weak comes first, whatever it is worth.
    steady = decide(plant(s400w1=(0.55, 0.1), s1000w1=(0.95, 0.5, 0.4)), BASE)
    assert steady.best.candidate == Candidate(400, 1.0)


def test_a_training_that_diverged_is_broken_and_not_too_weak():
    gone = (0.0, 0.1, 1.0, 0.0, 0.0, 1.5)
    decision = decide(plant(s100w1=gone, s200w1=gone), BASE)
    assert set(states(decision).values()) == {"broken"}
    (told,) = decision.advice
    assert told.startswith("A lower rate (train.optimizer.lr): already at step 100 the pictures have left the base's")
    # What has learned something on the way, or never left the base, is too weak.
    assert states(decide(plant(s100w1=(0.4, 0.5, 1.0, 0.0, 0.0, 1.5)), BASE)) == {(100, 1): "underfitted"}
    assert states(decide(plant(s100w1=(0.0, 0.5, 1.0, 0.0, 0.0, 0.3)), BASE)) == {(100, 1): "underfitted"}


def test_a_weight_too_high_is_broken_and_not_too_weak():
    decision = decide(plant(s100w0_6=(0.2, 0.5), s100w1=(0.8, 0.5), s100w2=(0.4, 0.5), s200w1=(0.4, 0.5)), BASE)
    assert states(decision) == {
        (100, 0.6): "underfitted",
        (100, 1): "good",
        (100, 2): "broken",
        (200, 1): "underfitted",
    }


def test_of_one_seed_alone_too_high_a_weight_is_not_said_to_have_moved():
    cases = plant(s100w0_6=(0.8, 0.5), s100w1=(0.4, 0.5, np.nan, 0.0, 0.0, np.nan))
    (told,) = (one for one in decide(cases, BASE).assessed if one.candidate.weight == 1)
    assert told.state == "broken"
    assert (
        explain_state(told) == "the pictures show 40% of what the training pictures show, and more at a lower weight."
    )


def test_training_longer_is_not_advised_where_an_earlier_step_is_as_good():
    other = np.random.default_rng(3).normal(0, 0.2, 24)
    alike = plant(s100w1=(0.87 + other, 0.5), s200w1=(0.6, 0.5), s300w1=(0.9, 0.5))
    assert decide(alike, BASE).best.candidate == Candidate(300, 1.0) and not decide(alike, BASE).advice


def test_a_base_that_copies_as_much_is_no_reason_to_call_it_memorised():
    base = make_measures(NOISE, 0.5 + NOISE, copies=0.9, prompts=24)
    assert decide(plant(s100w1=(0.9, 0.5, 1.0, 0.9)), base).best.state == "good"


def test_too_few_prompts_recommend_nothing():
    few = {Candidate(100, 1.0): make_measures(0.9, prompts=4)}
    decision = decide(few, make_measures(0.0, prompts=4))
    assert decision.best is None and not decision.can_tell and "fewer than 5 prompts were drawn" in decision.headline


def test_what_went_out_early_is_not_recommended_by_its_few_prompts():
    cases = plant(s200w1=(0.8, 0.5))
    cases[Candidate(100, 1.0)] = make_measures(0.99, 0.5, prompts=6)
    assert decide(cases, BASE).best.candidate == Candidate(200, 1.0)


def test_one_that_is_best_turned_down_says_so():
    decision = decide(plant(s100w0_6=(0.9, 0.5), s100w1=(0.9, 0.2)), BASE)
    assert any("It is best where it is turned down furthest, to 0.60" in one for one in decision.advice)
    # Weight 1 is not turned down, whatever greater ones are worth less.
    decision = decide(plant(s100w1=(0.9, 0.5), s100w2=(0.9, 0.2)), BASE)
    assert decision.best.candidate.weight == 1 and not any("turned down" in one for one in decision.advice)


def test_facts_hold_the_interval_and_round():
    (one,) = decide(plant(s100w1=(0.9, 0.5)), BASE).assessed
    told = to_facts(one, 48).to_dict()
    assert told["pictures"] == 48 and told["worth"]["low"] <= told["worth"]["mean"] <= told["worth"]["high"]
    assert told["learned"] == round(one.factors.learned, 6)


def bleed(mean, spread=0.05):
    return Estimate(mean, mean - spread, mean + spread, 4)


def test_what_changes_prompts_without_its_trigger_words_has_bled_and_is_still_usable():
    cases = plant(s100w1=(0.3, 0.5), s200w1=(0.9, 0.5), s300w1=(0.95, 0.2))
    decision = decide(cases, BASE, {one: bleed(0.7) for one in cases})
    # A worse state stays; what has bled is recommended, with what helps.
    assert states(decision) == {(100, 1): "underfitted", (200, 1): "bled", (300, 1): "overfitted"}
    assert decision.best.candidate == Candidate(200, 1.0)
    assert any("It bleeds: without the trigger words its pictures are 70% as far" in one for one in decision.advice)
    assert to_facts(decision.best, 48).bleed.mean == 0.7
    low = decide(cases, BASE, {one: bleed(0.3) for one in cases})
    assert states(low)[200, 1] == "good" and not any("bleeds" in one for one in low.advice)
    unknown = decide(cases, BASE)
    assert states(unknown)[200, 1] == "good" and to_facts(unknown.best, 48).bleed is None


def test_of_those_that_cannot_be_told_apart_one_that_bleeds_less_is_named():
    other = np.random.default_rng(3).normal(0, 0.2, 24)
    cases = plant(s200w0_8=(0.88 + other, 0.5), s200w1=(0.9, 0.5))
    less, best = sorted(cases)
    told = decide(cases, BASE, {best: bleed(0.6), less: bleed(0.3)})
    assert told.best.candidate == best
    assert told.rivals == [
        "Step 200 at weight 0.80 is worth as much, as far as can be told, and bleeds less (30% against 60%)."
    ]
    assert decide(cases, BASE, {best: bleed(0.6), less: bleed(0.55)}).rivals == []
