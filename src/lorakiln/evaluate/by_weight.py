"""From scored pictures to the numbers of the report: per weight, and LoRA minus base on the same prompts and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from lorakiln.artefacts.records import write_text
from lorakiln.evaluate.coherence import Coherence
from lorakiln.evaluate.intervals import Estimate, bootstrap_mean, wilson_fraction
from lorakiln.evaluate.plan import Plan, Prompt, weight_name
from lorakiln.evaluate.scores import Scored, seed_similarity
from lorakiln.schema.evaluate import Classification

Role = Literal["learned", "prompt", "other"]


@dataclass(frozen=True)
class Metric:
    """One number of a picture or prompt.

    Attributes:
        role: what a change of it says: that the training pictures were learned, that the prompt is followed, or
            neither.
        fraction: its values are right or wrong.
    """

    name: str
    title: str
    meaning: str
    role: Role
    fraction: bool = False


@dataclass(frozen=True)
class Summary:
    """Estimates by metric and weight, on one set of prompts.

    Attributes:
        values: metric -> weight -> mean over prompts.
        differences: metric -> weight -> mean over prompts of (that weight minus weight 0), weight 0 left out.
        ceilings: metric -> what the training pictures themselves have; absent where that is not known.
        coherence: whether the pictures at the main weight are pictures of something; None if that was not measured.
        out_of_domain: what to say where the training pictures are of a kind that CLIP does not know.
    """

    values: dict[str, dict[float, Estimate]] = field(default_factory=dict)
    differences: dict[str, dict[float, Estimate]] = field(default_factory=dict)
    ceilings: dict[str, float] = field(default_factory=dict)
    out_of_domain: str | None = None
    coherence: Coherence | None = None

    def share_of_the_way(self, metric: Metric, weight: float) -> tuple[float, float] | None:
        """How far the difference goes from the base to what could be: its lower end and its mean; 1 is all the way.

        What could be is the training pictures' own value, or 100% of what is right or wrong; None if neither is
        known. A base that is there already has no way to go: (0, 0).
        """
        ceiling = 1.0 if metric.fraction else self.ceilings.get(metric.name)
        base = self.values.get(metric.name, {}).get(0.0)
        difference = self.differences.get(metric.name, {}).get(weight)
        if ceiling is None or base is None or difference is None or difference.low is None:
            return None
        if ceiling <= base.mean:
            return 0.0, 0.0
        room = ceiling - base.mean
        return difference.low / room, difference.mean / room


def metrics_of(classify: Sequence[Classification]) -> list[Metric]:
    """The metrics that the settings ask for, in the report's order."""
    fixed, from_prompt = [], []
    for question in classify:
        name, spoken = f"right_{question.name}", question.name.replace("_", " ")
        if question.answer is not None:
            meaning = f"pictures in which CLIP sees “{question.answer}” among {len(question.labels)} labels"
            fixed.append(Metric(name, f"{spoken}: {question.answer}", meaning, "learned", True))
        else:
            meaning = f"pictures in which CLIP sees the {spoken} that the prompt names, among {len(question.labels)}"
            from_prompt.append(Metric(name, f"right {spoken}", meaning, "prompt", True))
    return [
        Metric(
            "image_similarity", "similarity to the training pictures",
            "mean CLIP cosine between a picture and all training pictures", "learned",
        ),
        *fixed,
        *from_prompt,
        Metric(
            "clip_score", "CLIP score (text)",
            "100 × CLIP cosine between a picture and its prompt without the trigger words",
            # It falls for whatever the bare prompt does not name, the subject first of all: a question says more.
            "other" if from_prompt else "prompt",
        ),
        Metric(
            "seed_similarity", "likeness between seeds",
            "mean CLIP cosine between pictures of one prompt; higher is less varied", "other",
        ),
        Metric(
            "nearest_similarity", "similarity to the nearest training picture",
            "CLIP cosine to the nearest training picture; close to 1 may mean copying", "other",
        ),
    ]  # fmt: skip


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
            weight: [_prompt_mean(metric, groups.get((weight, prompt.index), [])) for prompt in prompts]
            for weight in weights
        }
        for weight, column in means.items():
            values = np.array([value for value in column if value is not None])
            if len(values):
                estimate = wilson_fraction(values) if metric.fraction else bootstrap_mean(values)
                summary.values.setdefault(metric.name, {})[weight] = estimate
            pairs = zip(column, means[0.0], strict=True)
            steps = np.array([a - b for a, b in pairs if a is not None and b is not None])
            if weight and len(steps):
                summary.differences.setdefault(metric.name, {})[weight] = bootstrap_mean(steps)
    return summary


def _prompt_mean(metric: Metric, group: Sequence[Scored]) -> float | None:
    if metric.name == "seed_similarity":
        return seed_similarity(np.stack([item.embedding for item in group])) if len(group) > 1 else None
    values = [item.values[metric.name] for item in group]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def as_metrics(summary: Summary) -> dict[str, dict]:
    """For metrics.json: {"clip_score": {"w1.00": {"mean", "low", "high", "difference": {...}}}}; what the training
    pictures have among themselves is {"training_pictures": {"mean"}}."""
    nested: dict[str, dict] = {}
    for name, by_weight in summary.values.items():
        for weight, estimate in by_weight.items():
            entry: dict = estimate.as_dict()
            if difference := summary.differences.get(name, {}).get(weight):
                entry["difference"] = difference.as_dict()
            nested.setdefault(name, {})[f"w{weight_name(weight)}"] = entry
    for name, ceiling in summary.ceilings.items():
        nested.setdefault(name, {})["training_pictures"] = {"mean": round(ceiling, 6)}
    return nested


def write_plots(folder: Path, overall: Summary, on_grid: Summary, plan: Plan) -> None:
    """Tables for `dvc plots`.

    scores.csv: weight,metric,mean,low,high over all prompts. by_weight.csv: one line a weight and one column a
    metric, on the grid's prompts, which are drawn at every weight.
    """
    lines = ["weight,metric,mean,low,high"]
    for name, by_weight in overall.values.items():
        for weight, estimate in by_weight.items():
            numbers = ["" if n is None else f"{n:.6f}" for n in (estimate.mean, estimate.low, estimate.high)]
            lines.append(",".join([weight_name(weight), name, *numbers]))
    write_text(folder / "scores.csv", "\n".join(lines) + "\n")
    names = list(on_grid.values)
    table = [",".join(["weight", *names])]
    for weight in plan.grid_weights:
        estimates = (on_grid.values[name].get(weight) for name in names)
        cells = [f"{estimate.mean:.6f}" if estimate else "" for estimate in estimates]
        table.append(",".join([weight_name(weight), *cells]))
    write_text(folder / "by_weight.csv", "\n".join(table) + "\n")
