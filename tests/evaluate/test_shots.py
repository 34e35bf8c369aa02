"""Which pictures are asked for, and which of them are equal."""

import pytest

from lorakiln.evaluate.shots import insert_trigger, plan_shots, remove_trigger
from lorakiln.metrics import format_weight
from lorakiln.schema.evaluate import EvaluateSettings


def plan_of(trigger="sks", lora="lora", base="base", size=(64, 64), **changes):
    settings = {
        "prompts": ["{trigger}, in a forest", "a portrait of {trigger}", "a cat"],
        "seeds": [3, 5],
        "weights": [0, 1],
        "between": [0.5, 1.0],
        "grid_prompts": 2,
        **changes,
    }
    return plan_shots(EvaluateSettings(**settings), trigger, size, base, lora)


def test_counts_and_names():
    plan = plan_of()
    names = [shot.file_name for shot in plan.shots]
    # 3 prompts x 2 seeds x 2 weights, 2 x 2 at 0.5, and 2 x 2 x 2 without the trigger words.
    assert len(names) == 12 + 4 + 8 == len(set(names))
    assert {"w0.00/p000-s3.png", "w0.50/p001-s5.png", "w1.00-without-trigger/p000-s3.png"} <= set(names)
    assert plan.grid_weights == [0.0, 0.5, 1.0] and plan.main == 1.0


def test_seeds_are_the_same_at_every_weight():
    asked = {}
    for shot in plan_of().shots:
        asked.setdefault((shot.prompt.index, shot.with_trigger, shot.weight), []).append(shot.seed)
    assert set(map(tuple, asked.values())) == {(3, 5)}


def test_the_base_does_not_depend_on_the_lora_but_the_rest_does():
    before, after = plan_of(lora="one").shots, plan_of(lora="two").shots
    for a, b in zip(before, after, strict=True):
        assert (a.key == b.key) == (a.weight == 0)


@pytest.mark.parametrize(
    "change",
    [{"base": "other"}, {"size": (80, 48)}, {"steps": 7}, {"guidance": 2.0}, {"negative_prompt": "x"}],
)
def test_what_changes_pictures_changes_all_keys(change):
    assert not {shot.key for shot in plan_of().shots} & {shot.key for shot in plan_of(**change).shots}


def test_equal_pictures_have_equal_keys():
    plan = plan_of(prompts=["a cat", "a cat"])
    assert len(plan.shots) == 2 * len({shot.key for shot in plan.shots})


def test_a_quick_evaluation_draws_a_part_of_the_full_ones_pictures():
    many = {"prompts": [f"{{trigger}}, {number}" for number in range(20)], "seeds": [3, 3, 5, 7]}
    full, quick = plan_of(**many), plan_of(**many, quick=True)
    assert {shot.key for shot in quick.shots} < {shot.key for shot in full.shots}
    # Every third prompt, two seeds, at 0 and 1.
    assert [prompt.text for prompt in quick.prompts] == [f"sks, {number}" for number in range(0, 20, 3)]
    assert len(quick.shots) == 7 * 2 * 2 and quick.seeds == [3, 5]
    assert plan_of(**many, quick=False).shots == full.shots


def test_no_pictures_without_trigger_where_there_is_none():
    plan = plan_of(prompts=["a cat"])
    assert not plan.has_trigger and all(shot.with_trigger for shot in plan.shots)


@pytest.mark.parametrize(
    ("template", "trigger", "drawn", "bare"),
    [
        ("{trigger}, in a forest", "sks dog", "sks dog, in a forest", "in a forest"),
        ("a cat, {trigger}, red", "outline style", "a cat, outline style, red", "a cat, red"),
        ("a cat, Outline Style, red", "outline style", "a cat, Outline Style, red", "a cat, red"),
        ("{trigger}", "sks", "sks", ""),
        ("{trigger}, at night", "", "at night", "at night"),
        ("asks a question", "sks", "asks a question", "asks a question"),
        ("a (cat), red.", "(cat)", "a (cat), red.", "a, red."),
    ],
)
def test_trigger_words_in_and_out(template, trigger, drawn, bare):
    assert insert_trigger(template, trigger) == drawn
    assert remove_trigger(template, trigger) == bare


def test_weight_names_tell_weights_apart():
    assert [format_weight(w) for w in (0.0, 1.0, 0.25, 0.125, -0.5)] == [
        "0.00",
        "1.00",
        "0.25",
        "0.125",
        "-0.50",
    ]
