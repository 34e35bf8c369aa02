"""The `evaluate` stage: draw, measure, compare, and write it all down."""

from collections.abc import Sequence
from pathlib import Path

import torch

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.artefacts.json_files import write_json, write_jsonl, write_text
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.gpu import choose_device, describe_device
from lorakiln.console.memory import free_memory
from lorakiln.evaluate.comparison import Evidence, assess_weights, compare, select_headline_numbers
from lorakiln.evaluate.drawing import ShotDrawer
from lorakiln.evaluate.drawing_key import PIXEL, describe_drawing
from lorakiln.evaluate.grids import make_grids, save_grid
from lorakiln.evaluate.metric_inputs import PictureModels, gather_inputs
from lorakiln.evaluate.nearest_pairs import NearestPair, find_nearest_pairs
from lorakiln.evaluate.painter import Painter
from lorakiln.evaluate.remarks import make_remarks
from lorakiln.evaluate.report import Findings, write_report
from lorakiln.evaluate.score_summaries import make_row, score_pictures, write_plots
from lorakiln.evaluate.shots import ShotPlan, plan_shots
from lorakiln.evaluate.summary_text import format_summary
from lorakiln.evaluate.tracking import EvaluatedLora, track
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import RunFacts
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import choose_drawing_precision
from lorakiln.metrics import Metric, Scored, examine, format_weight, list_metrics
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings


def evaluate(
    lora: Path,
    captioned: Path,
    run: Path,
    choice: Path,
    out: Path,
    settings: EvaluateSettings,
    model: ModelSettings,
) -> None:
    """Draw prompts x seeds x weights, score them against the base model, and write the report.

    Each picture is kept beside `out` from the moment it is drawn until the report is whole: whatever ends the stage,
    the next call draws only what is missing.

    Args:
        lora: what `export` wrote: the LoRA file and facts.json.
        captioned: the training pictures with their captions.
        run: what `train` wrote: curves and samples.
        choice: what `choose` wrote, whose pictures of the base are taken from there; need not be there.
        out: the report's folder: metrics.json, scores.json (of which DVC makes tables), samples/, grids/, plots/,
            report.html.

    Raises:
        UserError: the settings hold no weight but 0, the LoRA was trained on another base, or a model is not there.
    """
    if not any(settings.weights):
        raise UserError(
            "weights hold 0 alone, the base model", where="evaluate.weights", fix="add a weight, such as 1.0"
        )
    facts = LoraFacts.read(lora / "facts.json")
    device = choose_device(settings.device)
    encoding = PromptEncoding.of(facts.made_with("encode", EncodeSettings))
    plan = _plan(facts, lora, settings, model, device, encoding)
    where = f"{describe_device(device)} in {choose_drawing_precision(device, settings.precision)}"
    print(f"evaluate: {format_count(len(plan.shots), 'picture')} to be drawn and scored, on {where}", flush=True)
    # Before the drawing, which takes long: what cannot be loaded is told at once. They are on the device after it.
    models = PictureModels.load(model, settings, torch.device("cpu"))
    # As much again for the grids and the report, which show them.
    check_space(out, 2 * sum(shot.width * shot.height for shot in plan.shots) * PIXEL, "the report and its samples")
    kept = PartialResults(out, ".png")
    with replacing(out) as fresh:
        samples = fresh / "samples"
        words = [lora / name for name in facts.embeddings or ()]
        painter = Painter({"": lora / facts.file}, settings, model, device, encoding, facts.zero_terminal_snr, words)
        drawer = ShotDrawer(painter)
        drawn = drawer.fill(plan.shots, samples, [choice / "samples", out / "samples"], kept)
        print(f"evaluate: {format_count(drawn, 'picture')} drawn, {len(plan.shots) - drawn} already there", flush=True)
        free_memory()  # of the base, which was drawn with
        metrics = list_metrics(settings)
        scored, evidence, nearest = _score(models.to(device), plan, samples, captioned, _read_held_out(run), metrics)
        write_jsonl(samples / "metadata.jsonl", [make_row(item) for item in scored])
        grids = make_grids(plan)
        for grid in grids:
            save_grid(grid, samples, fresh / "grids" / f"{grid.name}.png")
        results = compare(scored, plan, metrics, evidence)
        remarks = make_remarks(facts, run, results, plan)
        write_json(fresh / "metrics.json", results.numbers)
        write_json(fresh / "scores.json", select_headline_numbers(results, plan.main))
        write_plots(fresh / "plots", results.overall, results.on_grid, plan)
        findings = Findings(facts, settings, plan, grids, results, remarks, nearest)
        write_report(findings, captioned, run, choice, samples, fresh / "report.html")
        summary = format_summary(results.metrics, results.overall, plan.main, remarks)
        write_text(fresh / "summary.txt", summary)
    kept.clear()
    dumped = settings.model_dump(mode="json")
    titles = {grid.name: grid.title for grid in grids}
    main = f"w{format_weight(plan.main)}"
    track(run, out, EvaluatedLora(facts.name, facts.step, dumped, results.numbers, main, titles))
    print(f"{summary}report: {out / 'report.html'}", flush=True)


def _plan(
    facts: LoraFacts,
    lora: Path,
    settings: EvaluateSettings,
    model: ModelSettings,
    device: torch.device,
    encoding: PromptEncoding,
) -> ShotPlan:
    size, drawn_by = describe_drawing(facts, settings, model, device, encoding)
    identity = facts.hash
    if facts.embeddings:
        identity = hash_data([identity, *(hash_file(lora / name) for name in facts.embeddings)])
    return plan_shots(settings, facts.trigger or "", size, drawn_by, identity)


def _score(
    models: PictureModels,
    plan: ShotPlan,
    samples: Path,
    captioned: Path,
    held_out: Sequence[str],
    metrics: Sequence[Metric],
) -> tuple[list[Scored], Evidence, list[NearestPair]]:
    """The scored pictures, what the verdict asks for beside their scores, and those nearest to training pictures."""
    inputs = gather_inputs(models, plan.shots, samples, captioned, held_out)
    scored = score_pictures(inputs, metrics)
    known = {metric.name: metric.of_training_pictures(inputs) for metric in metrics}
    ceilings = {name: ceiling for name, ceiling in known.items() if ceiling is not None}
    strange = DatasetFacts.read(captioned / "dataset.json").out_of_domain
    assessed = {} if strange else assess_weights(inputs, scored, metrics, plan)
    evidence = Evidence(ceilings, examine(inputs, scored, plan.main), strange, assessed)
    return scored, evidence, find_nearest_pairs(inputs, plan.main)


def _read_held_out(run: Path) -> list[str]:
    """Names of the pictures that the training held out; none of a file from elsewhere."""
    return RunFacts.read(file).held_out_files if (file := run / "facts.json").exists() else []
