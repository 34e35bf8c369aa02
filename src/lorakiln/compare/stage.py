"""Draw with several files and the base, measure, and say which is worth most."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import write_json, write_jsonl
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.compare.drawing import Plan, draw_shots, plan_shots
from lorakiln.compare.entrants import Entrant
from lorakiln.compare.measuring import Measured, measure_files
from lorakiln.compare.page import write_page
from lorakiln.compare.verdict import Verdict, decide
from lorakiln.console.counts import format_count
from lorakiln.console.gpu import choose_device, describe_device
from lorakiln.console.memory import free_memory
from lorakiln.evaluate.metric_inputs import PictureModels
from lorakiln.evaluate.score_summaries import make_row, to_metrics
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import choose_drawing_precision
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.worth.assessment import Assessed

PAGE, NUMBERS = "compare.html", "compare.json"


@dataclass(frozen=True)
class Compared:
    """A comparison that is written."""

    plan: Plan
    measured: Measured
    verdict: Verdict


def compare_files(
    entrants: list[Entrant],
    captioned: Path,
    out: Path,
    evaluate: EvaluateSettings,
    model: ModelSettings,
    trigger: str,
    encoding: PromptEncoding,
) -> Compared:
    """Draw with each file and the base from the same prompts and seeds, measure, and write what they are worth.

    Each picture is kept beside `out` from the moment it is drawn until the comparison is whole: whatever ends it, the
    next call draws only what is missing.

    Args:
        captioned: the training pictures, which likeness is measured by, with their captions.
        out: compare.html, compare.json and samples/; replaced whole.
        trigger: the words in the base's prompts.

    Raises:
        UserError: the model cannot draw what is asked for, or has no memory or disk for it; or CLIP is not there.
    """
    evaluate = evaluate.reduced()
    device = choose_device(evaluate.device)
    plan = plan_shots(entrants, evaluate, model, trigger, encoding, device)
    where = f"{describe_device(device)} in {choose_drawing_precision(device, evaluate.precision)}"
    print(
        f"compare: {format_count(len(entrants), 'file')} and the base, "
        f"{format_count(len(plan.shots), 'picture')}, on {where}",
        flush=True,
    )
    # Before the drawing, which takes long: a CLIP that cannot be loaded is told at once.
    models = PictureModels.load(model, evaluate, torch.device("cpu"))
    check_space(out, plan.bytes, "the comparison's samples")
    kept = PartialResults(out, ".png")
    with replacing(out) as fresh:
        samples = fresh / "samples"
        drawn = draw_shots(plan, entrants, evaluate, model, encoding, device, samples, out / "samples", kept)
        print(f"compare: {format_count(drawn, 'picture')} drawn, {len(plan.shots) - drawn} already there", flush=True)
        free_memory()  # of the base, which was drawn with
        measured = measure_files(plan, entrants, evaluate, models.to(device), samples, captioned)
        verdict = decide(measured, DatasetFacts.read(captioned / "dataset.json").out_of_domain)
        write_jsonl(samples / "metadata.jsonl", [make_row(item) for item in measured.scored])
        write_json(fresh / NUMBERS, to_numbers(plan, measured, verdict))
        write_page(plan, measured, verdict, evaluate, samples, fresh / PAGE)
    kept.clear()
    return Compared(plan, measured, verdict)


def to_numbers(plan: Plan, measured: Measured, verdict: Verdict) -> dict[str, Any]:
    """As compare.json holds it: all that the page shows, by the files' letters."""
    letters = [one.candidate.letter for one in measured.assessed]
    return {
        "headline": verdict.headline,
        "more": verdict.more,
        "best": None if verdict.best is None else letters[verdict.best],
        "alike": [letters[place] for place in verdict.alike],
        "prompts": len(plan.prompts),
        "seeds": plan.seeds,
        "base": _to_numbers(measured.base),
        "files": [
            {
                "letter": one.candidate.letter,
                "file": str(one.candidate.file),
                "hash": one.candidate.hash,
                "weight": one.candidate.weight,
                "trigger": one.candidate.trigger,
                "rank": one.candidate.rank,
                "state": one.state,
                **_to_numbers(one),
                "bleed": one.bleed and one.bleed.as_dict(),
                "metrics": to_metrics(summary),
            }
            for one, summary in zip(measured.assessed, measured.summaries, strict=True)
        ],
        "pairs": [
            {
                "first": letters[pair.first],
                "second": letters[pair.second],
                "difference": pair.difference.as_dict(),
                "better": None if pair.better is None else letters[pair.better],
            }
            for pair in measured.pairs
        ],
    }


def _to_numbers(assessed: Assessed[Any]) -> dict[str, Any]:
    factors = {name: round(value, 6) for name, value in vars(assessed.factors).items()}
    copies = None if np.isnan(assessed.measures.copies).all() else round(assessed.copies, 6)
    return {"worth": assessed.worth.as_dict(), **factors, "copies": copies}
