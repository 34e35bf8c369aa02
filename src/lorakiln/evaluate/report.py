"""report.html: one file that holds everything, readable without scripts or network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import write_text
from lorakiln.evaluate.charts import draw_score_charts, draw_training_charts
from lorakiln.evaluate.choice_section import make_choice_section
from lorakiln.evaluate.comparison import Comparison
from lorakiln.evaluate.grids import Grid
from lorakiln.evaluate.nearest_pairs import NearestPair, describe_bar, make_cards
from lorakiln.evaluate.page_pictures import (
    Picture,
    collect_training_pictures,
    collect_training_samples,
    describe_shot,
    make_data_uri,
    make_gallery,
)
from lorakiln.evaluate.pages import load_template
from lorakiln.evaluate.shots import ShotPlan
from lorakiln.evaluate.summary_text import format_difference, format_interval, format_mean, format_number
from lorakiln.evaluate.verdict import choose_tone, decide_verdict, describe_change, format_rule
from lorakiln.facts.choice import read_choice
from lorakiln.facts.lora import LoraFacts
from lorakiln.metrics import Metric, Shot, format_weight
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.strict_yaml import dump_yaml


@dataclass(frozen=True)
class Findings:
    """What evaluation found; see `comparison.Comparison`.

    Attributes:
        facts: the LoRA's.
        remarks: sentences that stand below the verdict.
        nearest: the drawn pictures that are nearest to training pictures, at the main weight.
    """

    facts: LoraFacts
    settings: EvaluateSettings
    plan: ShotPlan
    grids: Sequence[Grid]
    results: Comparison
    remarks: Sequence[str]
    nearest: Sequence[NearestPair]


def write_report(findings: Findings, captioned: Path, run: Path, choice: Path, samples: Path, path: Path) -> None:
    """Write the page; equal inputs give equal bytes.

    Args:
        captioned: the training pictures.
        run: curves and samples of training.
        choice: what `choose` wrote; need not be there.
        samples: the pictures that the grids show.
    """
    plan, facts, results = findings.plan, findings.facts, findings.results
    page = load_template("report.html").render(
        facts=facts,
        plan=plan,
        settings=findings.settings,
        verdict=decide_verdict(results.metrics, results.overall, plan.main),
        remarks=findings.remarks,
        choice=make_choice_section(read_choice(choice), choice),
        rule=format_rule(),
        rows=make_number_rows(findings),
        trigger_rows=make_trigger_rows(findings),
        main=format_weight(plan.main),
        grids=[{"grid": grid, "cells": _cells(grid, samples)} for grid in findings.grids],
        score_charts=draw_score_charts(results.metrics, results.on_grid, plan),
        training=draw_training_charts(run),
        over_training=collect_training_samples(run / "samples"),
        data=collect_training_pictures(captioned),
        gallery=make_gallery(plan, samples),
        nearest=make_cards(findings.nearest, samples),
        bar=describe_bar(findings.nearest),
        rest=len(plan.prompts) - len(plan.grid_prompts),
        example=plan.prompts[0].text,
        clip_skip=facts.made_with("encode", EncodeSettings).clip_skip,
        experiment=format_experiment(facts.settings, findings.settings),
    )
    write_text(path, page)


def make_number_rows(findings: Findings) -> list[dict[str, str]]:
    """The table at the top: one row a metric, base against LoRA at the main weight."""
    weight, rows = findings.plan.main, []
    for metric in findings.results.metrics:
        values = findings.results.overall.values.get(metric.name, {})
        if weight not in values or 0.0 not in values:
            continue
        difference = findings.results.overall.differences.get(metric.name, {}).get(weight)
        rows.append(
            {
                "title": metric.title,
                "meaning": metric.meaning + _ceiling(findings, metric),
                "base": format_mean(metric, values[0.0]),
                "base_interval": format_interval(metric, values[0.0]),
                "lora": format_mean(metric, values[weight]),
                "lora_interval": format_interval(metric, values[weight]),
                "difference": format_difference(metric, difference) if difference else "",
                "words": describe_change(metric, difference),
                "tone": choose_tone(metric, difference),
            }
        )
    return rows


def _ceiling(findings: Findings, metric: Metric) -> str:
    ceiling = findings.results.overall.ceilings.get(metric.name)
    return "" if ceiling is None else f"; among the training pictures themselves {format_number(metric, ceiling)}"


def make_trigger_rows(findings: Findings) -> list[dict[str, str]]:
    """What the trigger words do: the grid's prompts at the main weight, with and without them."""
    weight, rows = findings.plan.main, []
    for metric in findings.results.metrics:
        with_it = findings.results.on_grid.values.get(metric.name, {}).get(weight)
        without = findings.results.bare.values.get(metric.name, {}).get(weight)
        if with_it and without:
            rows.append(
                {"title": metric.title, "with": format_mean(metric, with_it), "without": format_mean(metric, without)}
            )
    return rows


def format_experiment(lineage: Mapping[str, Any], settings: EvaluateSettings) -> str:
    """All settings as a Hydra experiment that makes this LoRA again.

    Args:
        lineage: the settings of the stages before, by namespace, as their own records tell them.
    """
    lineage = {**lineage, "evaluate": settings.model_dump(mode="json")}
    order = ["model", "prepare", "caption", "encode", "train", "choose", "export", "evaluate"]
    ordered = {name: lineage[name] for name in order if name in lineage}
    text = dump_yaml(ordered, width=100)
    return f"# @package _global_\n{text}"


def _cells(grid: Grid, samples: Path) -> list[list[Picture | None]]:
    return [
        [
            make_data_uri(samples / shot.file_name, describe_shot(shot)) if isinstance(shot, Shot) else None
            for shot in row
        ]
        for row in grid.cells
    ]
