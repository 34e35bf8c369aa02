"""From scored pictures to the numbers of the report: per weight, and LoRA minus base on the same prompts and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lorakiln.artefacts.json_files import write_text
from lorakiln.evaluate.shots import ShotPlan
from lorakiln.metrics import Finding, Metric, MetricInputs, Prompt, Scored, format_weight
from lorakiln.worth.intervals import Estimate, compute_bootstrap_mean, compute_wilson_fraction


@dataclass(frozen=True)
class Summary:
    """Estimates by metric and weight, on one set of prompts.

    Attributes:
        values: metric -> weight -> mean over prompts.
        differences: metric -> weight -> mean over prompts of (that weight minus weight 0), weight 0 left out.
        ceilings: metric -> what the training pictures themselves have; absent where that is not known.
        findings: what was found out about the pictures at the main weight as a whole, by the kind of metric that did;
            empty if none was asked.
        out_of_domain: what to say where the training pictures are of a kind that CLIP does not know.
    """

    values: dict[str, dict[float, Estimate]] = field(default_factory=dict)
    differences: dict[str, dict[float, Estimate]] = field(default_factory=dict)
    ceilings: dict[str, float] = field(default_factory=dict)
    out_of_domain: str | None = None
    findings: Mapping[str, Finding] = field(default_factory=dict)

    def share_of_the_way(self, metric: Metric, weight: float) -> tuple[float, float] | None:
        """How far the difference goes from the base to what could be: its lower end and its mean; 1 is all the way.

        What could be is the training pictures' own value, or 100% of what is right or wrong; None if neither is
        known. A base that is there already has no way to go: (0, 0).
        """
        ceiling = 1.0 if metric.fraction else self.ceilings.get(metric.name)
        base = self.values.get(metric.name, {}).get(0.0)
        difference = self.differences.get(metric.name, {}).get(weight)
        if ceiling is None or base is None or difference is None or difference.low is None or difference.high is None:
            return None
        room, low, mean = ceiling - base.mean, difference.low, difference.mean
        if metric.better == "less":
            room, low, mean = -room, -difference.high, -mean
        return (low / room, mean / room) if room > 0 else (0.0, 0.0)


def score_pictures(inputs: MetricInputs, metrics: Sequence[Metric]) -> list[Scored]:
    """Score every drawn picture by the metrics that are of pictures, in their order."""
    columns = {metric.name: metric.of_pictures(inputs) for metric in metrics}
    measured = {name: column for name, column in columns.items() if column is not None}
    return [
        Scored(shot, inputs.embeddings[row], {name: column[row] for name, column in measured.items()})
        for row, shot in enumerate(inputs.shots)
    ]


def make_row(item: Scored) -> dict[str, Any]:
    """A line of samples/metadata.jsonl, by which the picture is found again."""
    shot = item.shot
    values = {name: None if value is None else round(value, 6) for name, value in item.values.items()}
    return {
        "file_name": shot.file_name,
        "prompt": shot.text,
        "seed": shot.seed,
        "weight": shot.weight,
        "with_trigger": shot.with_trigger,
        **values,
        "key": shot.key,
    }


def summarise(
    scored: Sequence[Scored],
    metrics: Sequence[Metric],
    prompts: Sequence[Prompt],
    weights: Sequence[float],
    with_trigger: bool = True,
) -> Summary:
    """Means with intervals over `prompts`; what no prompt has a value for is left out."""
    groups: dict[tuple[float, int], list[Scored]] = {}
    for item in scored:
        if item.shot.with_trigger == with_trigger:
            groups.setdefault((item.shot.weight, item.shot.prompt.index), []).append(item)
    summary = Summary()
    for metric in metrics:
        means = {
            weight: [metric.of_prompt(groups.get((weight, prompt.index), [])) for prompt in prompts]
            for weight in weights
        }
        for weight, column in means.items():
            values = np.array([value for value in column if value is not None])
            if len(values):
                estimate = compute_wilson_fraction(values) if metric.fraction else compute_bootstrap_mean(values)
                summary.values.setdefault(metric.name, {})[weight] = estimate
            pairs = zip(column, means[0.0], strict=True)
            steps = np.array([a - b for a, b in pairs if a is not None and b is not None])
            if weight and len(steps):
                summary.differences.setdefault(metric.name, {})[weight] = compute_bootstrap_mean(steps)
    return summary


def to_metrics(summary: Summary) -> dict[str, dict]:
    """For metrics.json: {"clip_score": {"w1.00": {"mean", "low", "high", "difference": {...}}}}; what the training
    pictures have among themselves is {"training_pictures": {"mean"}}."""
    nested: dict[str, dict] = {}
    for name, by_weight in summary.values.items():
        for weight, estimate in by_weight.items():
            entry: dict = estimate.as_dict()
            if difference := summary.differences.get(name, {}).get(weight):
                entry["difference"] = difference.as_dict()
            nested.setdefault(name, {})[f"w{format_weight(weight)}"] = entry
    for name, ceiling in summary.ceilings.items():
        nested.setdefault(name, {})["training_pictures"] = {"mean": round(ceiling, 6)}
    return nested


def write_plots(folder: Path, overall: Summary, on_grid: Summary, plan: ShotPlan) -> None:
    """Tables for `dvc plots`.

    scores.csv: weight,metric,mean,low,high over all prompts. by_weight.csv: one line a weight and one column a
    metric, on the grid's prompts, which are drawn at every weight.
    """
    lines = ["weight,metric,mean,low,high"]
    for name, by_weight in overall.values.items():
        for weight, estimate in by_weight.items():
            numbers = ["" if n is None else f"{n:.6f}" for n in (estimate.mean, estimate.low, estimate.high)]
            lines.append(",".join([format_weight(weight), name, *numbers]))
    write_text(folder / "scores.csv", "\n".join(lines) + "\n")
    names = list(on_grid.values)
    table = [",".join(["weight", *names])]
    for weight in plan.grid_weights:
        estimates = (on_grid.values[name].get(weight) for name in names)
        cells = [f"{estimate.mean:.6f}" if estimate else "" for estimate in estimates]
        table.append(",".join([format_weight(weight), *cells]))
    write_text(folder / "by_weight.csv", "\n".join(table) + "\n")
