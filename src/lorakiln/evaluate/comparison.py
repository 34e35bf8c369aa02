"""All numbers of one evaluation: base against LoRA, over weights, with and without the trigger words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lorakiln.evaluate.score_summaries import Summary, summarise, to_metrics
from lorakiln.evaluate.shots import ShotPlan
from lorakiln.metrics import Finding, Metric, MetricInputs, Scored, format_weight, list_in_report_order
from lorakiln.worth import WORTH
from lorakiln.worth.assessment import Assessed, assess, find_most_followed
from lorakiln.worth.baseline import Baseline
from lorakiln.worth.bleed import add_bleed, estimate_bleed
from lorakiln.worth.intervals import FEWEST_PROMPTS


@dataclass(frozen=True)
class Evidence:
    """What the verdict asks for beside the scores.

    Attributes:
        ceilings: what the training pictures have among themselves, by the metric's name; what is not known is absent.
        findings: about the pictures at the main weight, by the kind of metric.
        out_of_domain: what to say where the training pictures are of a kind that CLIP does not know.
        assessed: the base's pictures and those at the main weight by the rule that chooses saved steps, by weight;
            nothing where it cannot tell.
    """

    ceilings: Mapping[str, float] = field(default_factory=dict)
    findings: Mapping[str, Finding] = field(default_factory=dict)
    out_of_domain: str | None = None
    assessed: Mapping[float, Assessed[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Everything in numbers.

    Attributes:
        metrics: as they stand in tables.
        overall: all prompts, at the settings' weights.
        on_grid: the grid's prompts, at every weight.
        bare: the grid's prompts drawn without their trigger words; empty if none was.
        numbers: what metrics.json holds.
        assessed: see `Evidence`.
    """

    metrics: list[Metric]
    overall: Summary
    on_grid: Summary
    bare: Summary
    numbers: dict[str, Any]
    assessed: Mapping[float, Assessed[float]] = field(default_factory=dict)


def assess_weights(
    inputs: MetricInputs, scored: Sequence[Scored], metrics: Sequence[Metric], plan: ShotPlan
) -> dict[float, Assessed[float]]:
    """The base's pictures, and those at the plan's main weight, by the rule that chooses saved steps; nothing where
    the base was not drawn, or too few prompts.
    """
    of = {at: [one for one in scored if one.shot.with_trigger and one.shot.weight == at] for at in (0.0, plan.main)}
    if not of[0.0] or len(plan.prompts) < FEWEST_PROMPTS:
        return {}
    baseline = Baseline.of(inputs, of[0.0], metrics, plan.prompts)
    measures = {weight: baseline.measure(some, len(plan.prompts)) for weight, some in of.items()}
    most = find_most_followed(measures.values())
    assessed = {weight: assess(weight, one, measures[0.0], most) for weight, one in measures.items()}
    bare = [one for one in scored if not one.shot.with_trigger and one.shot.weight == plan.main]
    return assessed | {plan.main: add_bleed(assessed[plan.main], estimate_bleed(bare))}


def compare(scored: Sequence[Scored], plan: ShotPlan, metrics: Sequence[Metric], evidence: Evidence) -> Comparison:
    """Summarise the scored pictures of `plan`."""
    shown = list_in_report_order(metrics)
    overall = summarise(scored, shown, plan.prompts, plan.weights)
    overall = replace(overall, out_of_domain=evidence.out_of_domain, findings=evidence.findings)
    on_grid = summarise(scored, shown, plan.grid_prompts, plan.grid_weights)
    bare = summarise(scored, shown, plan.grid_prompts, plan.weights, with_trigger=False)
    overall.ceilings.update(evidence.ceilings)
    numbers: dict[str, Any] = to_metrics(overall)
    if bare.values:
        numbers["without_trigger"] = to_metrics(bare)
    for name, finding in evidence.findings.items():
        if name in numbers:
            raise ValueError(f"a metric and a kind that examines are both called {name!r}")
        numbers[name] = finding.as_dict()
    if evidence.assessed:
        numbers[WORTH] = {f"w{format_weight(at)}": _worth_to_dict(one) for at, one in evidence.assessed.items()}
    numbers["drawn"] = {"prompts": len(plan.prompts), "seeds": len(plan.seeds), "pictures": len(plan.shots)}
    return Comparison(shown, overall, on_grid, bare, numbers, evidence.assessed)


def _worth_to_dict(assessed: Assessed[float]) -> dict[str, Any]:
    factors = {name: round(value, 6) for name, value in asdict(assessed.factors).items()}
    return {**assessed.worth.as_dict(), **factors, "copies": round(assessed.copies, 6), "usable": assessed.usable}


def select_headline_numbers(results: Comparison, main: float) -> dict[str, float]:
    """The few numbers that tables of runs have room for, at the weight `main`: {"likeness": 0.6163, ...}."""
    at = f"w{format_weight(main)}"
    found = {
        metric.board or metric.name: round(results.numbers[metric.name][at]["mean"], 4)
        for metric in results.metrics
        if (metric.board or metric.is_answer) and at in results.numbers.get(metric.name, {})
    }
    return found | ({WORTH: round(results.assessed[main].worth.mean, 4)} if results.assessed else {})
