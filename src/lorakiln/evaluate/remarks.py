"""What a reader shall know beside the numbers: what CLIP cannot judge, the best step, what the trigger does."""

from pathlib import Path

from lorakiln.evaluate.charts import read_columns
from lorakiln.evaluate.comparison import Comparison
from lorakiln.evaluate.shots import ShotPlan
from lorakiln.evaluate.summary_text import format_mean
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import RunFacts
from lorakiln.worth.assessment import describe, explain_state
from lorakiln.worth.bleed import BLED, BLEED, describe_bleed

# Where so much of what a prompt gains with the trigger words comes without them, they do little.
MOSTLY = 0.5


def make_remarks(facts: LoraFacts, run: Path, results: Comparison, plan: ShotPlan) -> list[str]:
    """Sentences for the top of the report and for summary.txt.

    Args:
        facts: the LoRA's.
        run: what `train` wrote; need not be there, for a file from elsewhere.
    """
    remarks = [results.overall.out_of_domain, remark_on_step(facts, run), remark_on_trigger(results, plan)]
    remarks += [remark_on_worth(facts, results, plan), remark_on_bleed(results, plan), remark_on_copies(results, plan)]
    return [sentence for sentence in remarks if sentence]


def remark_on_step(facts: LoraFacts, run: Path) -> str | None:
    """Whether the exported step has the lowest validation loss that was measured; None if there is none to compare, or
    if the step was chosen by its pictures, which say more.
    """
    if facts.recommended:
        return None
    # As they are told: what differs less is no difference.
    losses = {int(step): round(loss, 4) for step, loss in read_columns(run / "validation.csv", "step", "loss") if step}
    step = facts.step
    if step not in losses:
        return None
    best = min(losses, key=lambda one: (losses[one], one != step, one))
    if best == step:
        return f"Step {step} was exported; of the steps that were validated it has the lowest loss, {losses[step]:.4f}."
    saved = best in {one.step for one in RunFacts.read(run / "facts.json").adapters}
    way = "export.which=best" if saved else "train.keep_best=true and export.which=best"
    return (
        f"Step {step} was exported, with a validation loss of {losses[step]:.4f}; step {best} has the lowest, "
        f"{losses[best]:.4f}: {way} would take it. The loss does not see likeness: compare the samples of both."
    )


def remark_on_worth(facts: LoraFacts, results: Comparison, plan: ShotPlan) -> str | None:
    """What the rule that chooses saved steps says of it; None if it cannot tell, or has chosen it and said so."""
    assessed = results.assessed.get(plan.main)
    if assessed is None or facts.recommended:
        return None
    worth, said = assessed.worth, f"It {describe(assessed)}" if assessed.usable else explain_state(assessed)
    return (
        f"By the rule for saved steps it is {assessed.state}, worth {worth.mean:.2f} of 1 "
        f"({worth.low:.2f} to {worth.high:.2f}). {said[0].upper()}{said[1:]}"
    )


def remark_on_bleed(results: Comparison, plan: ShotPlan) -> str | None:
    """That the LoRA changes pictures that do not ask for it, if it does so much."""
    found = results.bare.values.get(BLEED, {}).get(plan.main)
    if found is None or found.mean < BLED:
        return None
    return describe_bleed(found)


def remark_on_copies(results: Comparison, plan: ShotPlan) -> str | None:
    """That pictures copy training pictures, more of them than of the base's."""
    found = results.overall.differences.get("copies", {}).get(plan.main)
    if found is None or not found.rises:
        return None
    share = results.overall.values["copies"][plan.main].mean
    return (
        f"{share:.0%} of its pictures are nearer to a training picture than any two of these are to each other: it has "
        "learned some by heart. More pictures or fewer steps help."
    )


def remark_on_trigger(results: Comparison, plan: ShotPlan) -> str | None:
    """How much of what the LoRA does needs the trigger words; None if the prompts were not drawn without them."""
    learned = [metric for metric in results.metrics if metric.role == "learned"]
    # A question with a fixed answer says more than likeness.
    for metric in sorted(learned, key=lambda one: not one.fraction):
        by_weight = results.on_grid.values.get(metric.name, {})
        base, with_it = by_weight.get(0.0), by_weight.get(plan.main)
        without = results.bare.values.get(metric.name, {}).get(plan.main)
        if not (base and with_it and without):
            continue
        numbers = (
            f"{metric.title} is {format_mean(metric, with_it)} with them and {format_mean(metric, without)} without "
            f"(base {format_mean(metric, base)}), on {len(plan.grid_prompts)} prompts"
        )
        sign = 1 if metric.better == "more" else -1
        gain = sign * (with_it.mean - base.mean)
        if gain <= 0:
            return f"The trigger words: {numbers}."
        little = sign * (without.mean - base.mean) >= MOSTLY * gain
        return f"The trigger words {'do little' if little else 'turn the LoRA on'}: {numbers}."
    return None
