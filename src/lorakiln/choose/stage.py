"""The `choose` stage: draw with each saved step at each weight, measure, and say which to use."""

from pathlib import Path

import numpy as np
import torch

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import write_jsonl
from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.choose.candidates import Candidate, list_candidates, list_weights
from lorakiln.choose.measuring import CandidateMeasurer, DrawingPlan
from lorakiln.choose.rounds import Rounds
from lorakiln.choose.rule import NO_CLIP, AssessedCandidate, Decision, decide, rank, recommend, to_facts
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.gpu import choose_device, describe_device
from lorakiln.console.memory import free_memory
from lorakiln.evaluate.drawing_key import PIXEL
from lorakiln.evaluate.metric_inputs import PictureModels
from lorakiln.evaluate.score_summaries import make_row
from lorakiln.export.checkpoint_choice import choose_weights, find_best_step
from lorakiln.facts.choice import CHOICE, Choice, Measured, MeasuredCandidate
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.facts.run import RunFacts, SavedAdapter
from lorakiln.families.protocol import choose_drawing_precision
from lorakiln.schema.choose import ChooseSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.worth.diversity import estimate_diversity
from lorakiln.worth.measures import Measures


def choose(
    run: Path, captioned: Path, out: Path, settings: ChooseSettings, evaluate: EvaluateSettings, model: ModelSettings
) -> None:
    """Draw with each saved step at each weight, measure the pictures, and say which to use.

    Each picture is kept beside `out` from the moment it is drawn until the choice is whole: whatever ends the stage,
    the next call draws only what is missing.

    Args:
        run: what `train` wrote.
        captioned: the training pictures with their captions.
        out: choice.json (`Choice`) and samples/; without candidates in the one and pictures in the other where
            there is nothing to choose.
        evaluate: how pictures are drawn, of which prompts, and what CLIP is asked about them.

    Raises:
        UserError: the run was trained on another base, there is no step of the kind asked for, or a model is not there.
    """
    facts = RunFacts.read(run / "facts.json")
    adapters = select_adapters(choose_weights(facts.adapters, "auto"), settings.checkpoints)
    if not adapters:
        with replacing(out) as fresh:
            (fresh / "samples").mkdir()
            Choice().write(fresh / CHOICE)
        why = "one saved step, nothing to choose (train.save_every saves more)"
        print(f"choose: {'not asked for' if settings.checkpoints == 'none' else why}", flush=True)
        return
    evaluate = evaluate.reduced()
    device = choose_device(evaluate.device)
    plan = DrawingPlan.of(facts, settings, evaluate, model, device)
    candidates = list_candidates(adapters, settings.weights, settings.most_steps)
    rounds = Rounds(candidates, len(plan.prompts), settings.checkpoints == "auto")
    most = rounds.count_pictures(len(plan.seeds), len(plan.bare))
    where = f"{describe_device(device)} in {choose_drawing_precision(device, evaluate.precision)}"
    steps = len({one.step for one in candidates})
    print(
        f"choose: {format_count(steps, 'saved step')}, {format_count(len(candidates), 'candidate')}, "
        f"{format_count(most, 'picture')}, on {where}",
        flush=True,
    )
    if list_weights(settings.weights) != sorted(set(settings.weights)):
        print("choose: weight 1 is drawn, too, for those asked for (choose.weights) are all greater", flush=True)
    # Before the drawing, which takes long: what cannot be loaded is told at once.
    models = PictureModels.load(model, evaluate, torch.device("cpu"))
    check_space(out, most * plan.size[0] * plan.size[1] * PIXEL, "the choice's samples")
    strange = DatasetFacts.read(captioned / "dataset.json").out_of_domain
    kept, measurer = PartialResults(out, ".png"), CandidateMeasurer(facts, run, adapters, plan, evaluate, model, device)
    with replacing(out) as fresh:
        samples = fresh / "samples"
        measured: dict[Candidate, Measures] = {}
        for count, prompts in rounds:
            latest = measurer.measure(candidates[:count], prompts, models, captioned, samples, out / "samples", kept)
            measured |= latest
            candidates = rank(latest, measurer.measure_base())
        finalists = [one for one, found in measured.items() if found.prompts == len(plan.prompts)]
        bleed = measurer.measure_bleed(finalists, models, captioned, samples, out / "samples", kept)
        decision = decide(measured, measurer.measure_base(), bleed)
        choice = make_choice(decision, measurer, strange)
        choice.write(fresh / CHOICE)
        drawn = [item for one in sorted(measurer.scored) for item in measurer.scored[one]]
        scored = [*measurer.base, *drawn, *measurer.bare]
        write_jsonl(samples / "metadata.jsonl", [make_row(item) for item in scored])
    kept.clear()
    del measurer
    free_memory()
    for sentence in (choice.headline, *choice.rivals, *choice.advice):
        print(sentence, flush=True)


def select_adapters(adapters: list[SavedAdapter], wanted: str) -> list[SavedAdapter]:
    """The saved steps to choose among, by step; none where nothing is to be chosen.

    Args:
        wanted: `choose.checkpoints`.

    Raises:
        UserError: the best is wanted, and no saved step has a validation loss.
    """
    by_step = sorted(adapters, key=lambda one: one.step)
    if wanted == "none":
        return []
    if wanted == "auto":
        return by_step if len(by_step) > 1 else []
    if wanted == "last":
        return by_step[-1:]
    if wanted == "all":
        return by_step
    best = find_best_step(by_step)
    if best is None:
        raise UserError(
            "no saved step has a validation loss",
            where="choose.checkpoints=best",
            fix="set train.keep_best=true and train.validation.every, or choose.checkpoints=auto",
        )
    return [one for one in by_step if one.step == best]


def _describe(assessed: AssessedCandidate, measurer: CandidateMeasurer) -> MeasuredCandidate:
    """As choice.json holds it, with what the rule does not go by."""
    scored = measurer.scored[assessed.candidate]
    facts = to_facts(assessed, len(scored))
    varied = estimate_diversity(scored, measurer.baseline.apart if measurer.baseline else None)
    return facts.changed(diversity=Measured(**varied.as_dict())) if varied else facts


def make_choice(decision: Decision, measurer: CandidateMeasurer, strange: str | None) -> Choice:
    """As it is written.

    Args:
        strange: what to say where the training pictures are of a kind that CLIP does not know.
    """
    columns = vars(measurer.measure_base()).items()
    means = {name: round(float(np.nanmean(one)), 6) for name, one in columns if not np.isnan(one).all()}
    candidates = [_describe(one, measurer) for one in decision.assessed]
    if strange:
        return Choice(can_tell=False, headline=f"{NO_CLIP} {strange}", candidates=candidates, base=means)
    picture = ""
    if decision.best:
        picture = f"samples/{measurer.scored[decision.best.candidate][0].shot.file_name}"
    return Choice(
        recommended=recommend(decision, picture),
        can_tell=decision.can_tell,
        headline=decision.headline,
        rivals=decision.rivals,
        advice=decision.advice,
        candidates=candidates,
        base=means,
    )
