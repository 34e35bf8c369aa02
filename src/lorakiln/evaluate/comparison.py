"""All numbers of one evaluation: base against LoRA, over weights, with and without the trigger words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lorakiln.evaluate.coherence import Coherence
from lorakiln.evaluate.metrics import Metric, Summary, as_metrics, metrics_of, summarise
from lorakiln.evaluate.plan import Plan, weight_name
from lorakiln.evaluate.scores import Scored
from lorakiln.schema.evaluate import Classification

# What metrics.json calls them, and what boards and tables do.
BOARD = {"image_similarity": "likeness", "clip_score": "obedience"}


@dataclass(frozen=True)
class Evidence:
    """What the verdict asks for beside the scores.

    Attributes:
        ceiling: the likeness of the training pictures among themselves; None if there is only one.
        coherence: of the pictures at the main weight; None if it was not measured.
        out_of_domain: what to say where the training pictures are of a kind that CLIP does not know.
    """

    ceiling: float | None = None
    coherence: Coherence | None = None
    out_of_domain: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Everything in numbers.

    Attributes:
        overall: all prompts, at the settings' weights.
        on_grid: the grid's prompts, at every weight.
        bare: the grid's prompts drawn without their trigger words; empty if none was.
        numbers: what metrics.json holds.
    """

    metrics: list[Metric]
    overall: Summary
    on_grid: Summary
    bare: Summary
    numbers: dict[str, Any]


def compare(scored: Sequence[Scored], plan: Plan, classify: Sequence[Classification], evidence: Evidence) -> Comparison:
    """Summarise the scored pictures of `plan`."""
    metrics = metrics_of(classify)
    overall = summarise(scored, metrics, plan.prompts, plan.weights)
    overall = replace(overall, out_of_domain=evidence.out_of_domain, coherence=evidence.coherence)
    on_grid = summarise(scored, metrics, plan.grid_prompts, plan.grid_weights)
    bare = summarise(scored, metrics, plan.grid_prompts, plan.weights, with_trigger=False)
    if evidence.ceiling is not None:
        overall.ceilings["image_similarity"] = evidence.ceiling
    numbers: dict[str, Any] = as_metrics(overall)
    if bare.values:
        numbers["without_trigger"] = as_metrics(bare)
    if evidence.coherence is not None:
        numbers["coherence"] = evidence.coherence.as_dict()
    numbers["drawn"] = {"prompts": len(plan.prompts), "seeds": len(plan.seeds), "pictures": len(plan.shots)}
    return Comparison(metrics, overall, on_grid, bare, numbers)


def headline(results: Comparison, main: float) -> dict[str, float]:
    """The few numbers that tables of runs have room for, at the weight `main`: {"likeness": 0.6163, ...}."""
    at = f"w{weight_name(main)}"
    return {
        BOARD.get(metric.name, metric.name): round(results.numbers[metric.name][at]["mean"], 4)
        for metric in results.metrics
        if (metric.name in BOARD or metric.fraction) and at in results.numbers.get(metric.name, {})
    }
