"""What stands below the verdict."""

from dataclasses import replace

import pytest

from lorakiln.evaluate.comparison import Comparison
from lorakiln.evaluate.remarks import make_remarks, remark_on_step, remark_on_trigger, remark_on_worth
from lorakiln.evaluate.score_summaries import Summary
from lorakiln.evaluate.shots import plan_shots
from lorakiln.schema.evaluate import Classification, EvaluateSettings
from lorakiln.worth.assessment import assess
from lorakiln.worth.intervals import Estimate
from tests.evaluate.conftest import metrics_of
from tests.made_facts import lora_facts, run_facts
from tests.worth.test_measures import make_measures

STYLE = Classification(name="style", labels=["photo", "outline"], answer="outline")


@pytest.fixture
def run(tmp_path):
    def write(losses, saved):
        rows = "".join(f"{step},{loss}\n" for step, loss in losses.items())
        (tmp_path / "validation.csv").write_text("step,loss\n" + rows)
        run_facts(adapters=[{"step": step, "file": "x"} for step in saved]).write(tmp_path / "facts.json")
        return tmp_path

    return write


def test_a_step_with_a_lower_loss_is_told_with_the_setting_that_takes_it(run):
    folder = run({0: 0.0829, 100: 0.0752, 200: 0.0808}, saved=[100, 200])
    told = remark_on_step(lora_facts(step=200), folder)
    assert told == (
        "Step 200 was exported, with a validation loss of 0.0808; step 100 has the lowest, 0.0752: export.which=best "
        "would take it. The loss does not see likeness: compare the samples of both."
    )
    assert "train.keep_best=true and export.which=best" in remark_on_step(
        lora_facts(step=200), run({100: 1, 200: 2}, [200])
    )


def test_the_best_step_is_told_as_such_and_the_base_is_no_step(run):
    assert "it has the lowest loss, 0.0500" in remark_on_step(
        lora_facts(step=200), run({0: 0.04, 100: 0.06, 200: 0.05}, [200])
    )
    assert "it has the lowest loss" in remark_on_step(lora_facts(step=200), run({100: 0.05001, 200: 0.05004}, [200]))


def test_without_validation_or_training_nothing_is_said(run, tmp_path):
    assert remark_on_step(lora_facts(step=200), tmp_path / "nowhere") is None
    assert remark_on_step(lora_facts(step=None), run({100: 1}, [100])) is None


def comparison(base, with_it, without):
    def of(mean):
        return Estimate(mean, None, None, 1)

    on_grid = Summary({"right_style": {0.0: of(base), 1.0: of(with_it)}})
    bare = Summary({"right_style": {1.0: of(without)}} if without is not None else {})
    return Comparison(metrics_of([STYLE]), on_grid, on_grid, bare, {})


PLAN = plan_shots(EvaluateSettings(prompts=["{trigger}, a cat"], seeds=[0], weights=[0, 1]), "t", (8, 8), "", "")


@pytest.mark.parametrize(
    ("base", "with_it", "without", "said"),
    [
        (0.09, 1.0, 0.81, "do little: style: outline is 100% with them and 81% without (base 9%), on 1 prompts"),
        (0.0, 1.0, 0.2, "turn the LoRA on: style: outline is 100% with them and 20% without"),
        (0.5, 0.4, 0.5, "The trigger words: style: outline is 40% with them and 50% without"),
    ],
)
def test_what_the_trigger_does(base, with_it, without, said):
    assert said in remark_on_trigger(comparison(base, with_it, without), PLAN)


def test_prompts_that_were_not_drawn_without_it_say_nothing():
    assert remark_on_trigger(comparison(0, 1, None), PLAN) is None


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        (
            {"learned": 0.9, "detail": 0.6},
            "it is good, worth 0.54 of 1 (0.54 to 0.54). It shows 90% of",
        ),
        (
            {"learned": 0.3},
            "it is underfitted, worth 0.30 of 1 (0.30 to 0.30). It shows 30% of",
        ),
        (
            {"learned": 0.9, "copies": 0.5},
            "it is memorised, worth 0.90 of 1 (0.90 to 0.90). 50% of the pictures",
        ),
    ],
)
def test_what_it_is_worth_is_told_unless_it_was_chosen_so(measures, said):
    base = make_measures(0.0)
    found = replace(comparison(0, 1, 0), assessed={1.0: assess(1.0, make_measures(**measures), base, 1.0)})
    assert said in remark_on_worth(lora_facts(), found, PLAN)
    chosen = {"step": 20, "weight": 1.0, "low": 1.0, "high": 1.0, "picture": ""}
    assert remark_on_worth(lora_facts(recommended=chosen), found, PLAN) is None
    assert remark_on_worth(lora_facts(), comparison(0, 1, 0), PLAN) is None


def test_what_the_model_cannot_judge_comes_first(run):
    found = comparison(0, 1, 0)
    strange = replace(found, overall=replace(found.overall, out_of_domain="5 of 5 pictures are photographs."))
    told = make_remarks(lora_facts(step=1), run({1: 0.5}, [1]), strange, PLAN)
    assert [sentence.split()[0] for sentence in told] == ["5", "Step", "The"]
