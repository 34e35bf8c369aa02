"""The `evaluate` stage: draw, judge, compare, and write it all down."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorakiln.artefacts.code_digest import compute_code_key
from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.artefacts.json_files import write_json, write_jsonl, write_text
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.console.errors import UserError
from lorakiln.console.gpu import choose_device, describe_device
from lorakiln.console.memory import free_memory
from lorakiln.evaluate.clip import Clip
from lorakiln.evaluate.comparison import Evidence, compare, select_headline_numbers
from lorakiln.evaluate.drawing import ShotDrawer
from lorakiln.evaluate.grids import make_grids, save_grid
from lorakiln.evaluate.painter import Painter
from lorakiln.evaluate.remarks import make_remarks
from lorakiln.evaluate.report import Findings, write_report
from lorakiln.evaluate.shots import ShotPlan, plan_shots
from lorakiln.evaluate.summaries import score_pictures, write_plots
from lorakiln.evaluate.summary import format_summary
from lorakiln.evaluate.tracking import EvaluatedLora, track
from lorakiln.facts import DatasetFacts, LoraFacts, RunFacts
from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Family, choose_drawing_dtype, choose_drawing_precision
from lorakiln.metrics import Alter, Material, Metric, Scored, Shot, examine, format_weight, list_metrics
from lorakiln.rows import read_captioned
from lorakiln.sampling import check_steps
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings

# A large dataset is judged by so many of its pictures, evenly spaced by name.
MOST_REFERENCES = 1000

PIXEL = 3  # bytes, before a PNG makes them fewer


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
    print(f"evaluate: {len(plan.shots)} pictures to be drawn and scored, on {where}", flush=True)
    # Before the drawing, which takes long: a CLIP that cannot be loaded is told at once. It is on the device after it.
    clip = Clip.load(model.clip, torch.device("cpu"))
    # As much again for the grids and the report, which show them.
    check_space(out, 2 * sum(shot.width * shot.height for shot in plan.shots) * PIXEL, "the report and its samples")
    kept = PartialResults(out, ".png")
    with replacing(out) as fresh:
        samples = fresh / "samples"
        words = [lora / name for name in facts.embeddings or ()]
        painter = Painter({"": lora / facts.file}, settings, model, device, encoding, facts.zero_terminal_snr, words)
        drawer = ShotDrawer(painter)
        drawn = drawer.fill(plan.shots, samples, [choice / "samples", out / "samples"], kept)
        print(f"evaluate: {drawn} pictures drawn, {len(plan.shots) - drawn} already there", flush=True)
        free_memory()  # of the base, which was drawn with
        metrics = list_metrics(settings)
        scored, evidence = _score(clip.to(device), plan, samples, captioned, metrics)
        write_jsonl(samples / "metadata.jsonl", [make_row(item) for item in scored])
        grids = make_grids(plan)
        for grid in grids:
            save_grid(grid, samples, fresh / "grids" / f"{grid.name}.png")
        results = compare(scored, plan, metrics, evidence)
        remarks = make_remarks(facts, run, results, plan)
        write_json(fresh / "metrics.json", results.numbers)
        write_json(fresh / "scores.json", select_headline_numbers(results, plan.main))
        write_plots(fresh / "plots", results.overall, results.on_grid, plan)
        findings = Findings(facts, settings, plan, grids, results, remarks)
        write_report(findings, captioned, run, choice, samples, fresh / "report.html")
        summary = format_summary(results.metrics, results.overall, plan.main, remarks)
        write_text(fresh / "summary.txt", summary)
    kept.clear()
    told = settings.model_dump(mode="json")
    titles = {grid.name: grid.title for grid in grids}
    main = f"w{format_weight(plan.main)}"
    track(run, out, EvaluatedLora(facts.name, facts.step, told, results.numbers, main, titles))
    print(f"{summary}report: {out / 'report.html'}", flush=True)


def check_drawing(settings: EvaluateSettings, model: ModelSettings) -> Family:
    """The model, without its parts, if it can draw what the settings ask for: known before anything is trained.

    Raises:
        UserError: more steps than its noise schedule has, or a size that it cannot draw.
    """
    family = load_family(model, parts=())
    check_steps(family, settings.steps, "evaluate.steps")
    family.latent_shape(settings.width or model.resolution, settings.height or model.resolution)
    return family


def describe_drawing(
    facts: LoraFacts | RunFacts,
    settings: EvaluateSettings,
    model: ModelSettings,
    device: torch.device,
    encoding: PromptEncoding,
) -> tuple[tuple[int, int], str]:
    """The size of every picture, width and height in pixels; and all that a picture depends on beside the settings, the
    prompt, the seed and the LoRA.

    Raises:
        UserError: the base is not the one that was trained on, or see `check_drawing`.
    """
    family = check_drawing(settings, model)
    base, code = family.facts, compute_code_key(ShotDrawer, type(family))
    if base["hash"] != facts.base.hash:
        raise UserError(
            f"the LoRA was trained on another base model, {facts.base.path}",
            where=f"model.path = {model.path}",
            fix="evaluate it on that one, or train on this one",
        )
    size = settings.width or model.resolution, settings.height or model.resolution
    # Another device or precision draws other bits.
    drawn_by = f"{code} {base['hash']} {device.type} {choose_drawing_dtype(device, settings.precision)} {encoding}"
    return size, drawn_by + (" zero terminal SNR" if facts.zero_terminal_snr else "")


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
    clip: Clip, plan: ShotPlan, samples: Path, captioned: Path, metrics: Sequence[Metric]
) -> tuple[list[Scored], Evidence]:
    """The scored pictures, and what the verdict asks for beside their scores."""
    material = gather_material(clip, plan.shots, samples, captioned)
    scored = score_pictures(material, metrics)
    known = {metric.name: metric.of_training_pictures(material) for metric in metrics}
    ceilings = {name: ceiling for name, ceiling in known.items() if ceiling is not None}
    strange = DatasetFacts.read(captioned / "dataset.json").out_of_domain
    return scored, Evidence(ceilings, examine(material, scored, plan.main), strange)


def gather_material(clip: Clip, shots: Sequence[Shot], samples: Path, captioned: Path) -> Material:
    """What the metrics look at: drawn pictures and the training pictures, with what CLIP makes of them.

    Raises:
        UserError: CLIP gives numbers that are not finite.
    """
    names = sorted(row.file_name for row in read_captioned(captioned) if not row.is_reg)
    some = names[:: -(-len(names) // MOST_REFERENCES)]
    trained = [captioned / name for name in some]
    references = clip.pictures(trained, title="training pictures")
    files = [samples / shot.file_name for shot in shots]
    embeddings = clip.pictures(files)
    if not (np.isfinite(references).all() and np.isfinite(embeddings).all()):
        raise UserError("CLIP gives numbers that are not finite", where="model.clip", fix="use another CLIP")
    return Material(
        shots, embeddings, references, clip.texts, files, trained, partial(_embed_altered, clip), clip.parts
    )


def _embed_altered(clip: Clip, files: Sequence[Path], alter: Alter) -> np.ndarray:
    return clip.pictures(files, title="whether they show something", alter=alter)


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
