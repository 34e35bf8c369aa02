"""How well `choose` decides: trainings of the mascot, and what is true of every saved step and weight of each.

    python -m recipes.tiny.choice_study OUT [NAME ...]      goes on where it was stopped; pip install -e ".[tiny]" first

The settings of the trainings stand in `STUDY` and were written down before any of them was run. What is true of a
candidate is the share of its pictures in which the whole character stands, in the pose and on the background that were
asked for, as `parts_classifier` reads it. Regret is how much of the way from the base to the best candidate is missed:
by the rule, by the last step at weight 1, by the lowest validation loss, and by a candidate taken at random.
docs/evaluation.md has the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lorakiln.artefacts.json_files import write_text
from lorakiln.choose.candidates import Candidate, name_adapter
from lorakiln.choose.stage import choose
from lorakiln.facts.choice import Choice, read_choice
from lorakiln.facts.run import RunFacts
from lorakiln.metrics import format_weight
from lorakiln.runs import make_dataset
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.schema.whole_config import Config
from recipes.tiny.parts_classifier import COLOUR_NAMES, POSES, PartsClassifier, classify, train
from recipes.tiny.workspace import DATA, ROOT

CHARACTER = "demo_character"
COMMON = (
    "+experiment=character_r16",
    "train/tracker=none",
    "train.samples.every=0",
    "train.keep_best=true",
    "choose.checkpoints=all",
    "evaluate.seeds=[0,1]",
    "evaluate.between=[]",
    "evaluate.without_trigger=false",
)


@dataclass(frozen=True)
class Training:
    """One training of the study.

    Attributes:
        pictures: how many of the mascot's are trained on, evenly spaced; None: all.
        right: the states that the best candidate may have, where the case was planted and must be named so; empty
            where the regret counts.
        planted: whether the files are also spoilt by hand, see `plant`.
        weights: at which each saved step is drawn.
        colours: the backgrounds that are asked for with every pose; no training picture has them.
    """

    settings: tuple[str, ...]
    steps: int
    saves: int = 5
    pictures: int | None = None
    right: tuple[str, ...] = ()
    planted: bool = False
    weights: tuple[float, ...] = (0.7, 1.0)
    colours: tuple[str, ...] = ("red", "cyan")

    def list_overrides(self) -> list[str]:
        """What the command line says after the experiment's name."""
        every = self.steps // self.saves
        counted = (f"train.steps={self.steps}", f"train.save_every={every}", f"train.validation.every={every}")
        prompts = [f"'{{trigger}}, {pose}, {colour} background'" for pose in POSES for colour in self.colours]
        asked = (f"choose.weights={list(self.weights)}", f"evaluate.prompts=[{','.join(prompts)}]")
        return [*COMMON, *asked, *counted, *self.settings]


UNSEEN = {
    "rank-8": Training(("train.adapter.rank=8", "train.seed=11"), 1000, planted=True),
    "ten-pictures": Training(("train.seed=12",), 1000, pictures=10, planted=True),
    "twelve-pictures-fast": Training(("train.seed=13", "train.optimizer.lr=1.5e-3"), 800, pictures=12),
    "batch-2": Training(("train.seed=14", "train.batch_size=2"), 1200, planted=True),
    "min-snr-constant": Training(("train.seed=15", "train/objective=min_snr", "train/scheduler=constant"), 900),
    "lokr": Training(("train.seed=16", "train/adapter=lokr", "train.adapter.targets=locon"), 1000),
    "rank-32-twice-the-rate": Training(("train.seed=17", "train.adapter.rank=32", "train.optimizer.lr=2e-3"), 800),
    "prodigy": Training(("train.seed=18", "train/optimizer=prodigy", "train.optimizer.lr=1"), 900),
    "text-encoder": Training(("train.seed=19", "train.parts=[unet,text_encoder]"), 800),
}
BARE = "evaluate.without_trigger=true"  # so that the bleed is measured
# Every picture is called by the trigger words alone.
NAMELESS = ("caption=none", "caption.extensions=[.none]", "caption.trigger='a kilnling'")
WHOLE = "train.keep_best=false"  # of so few pictures none is held out
PLANTED = {
    f"{name}-{seed}": training(f"train.seed={seed}")
    for seed in (21, 22)
    for name, training in {
        "good": lambda s: Training((s, BARE), 1000, 2, right=("good",)),
        "underfitted": lambda s: Training((s, "train.optimizer.lr=2e-4"), 150, 2, right=("underfitted",)),
        "memorised": lambda s: Training((s, WHOLE), 800, 2, 4, right=("memorised",)),
        "diverged": lambda s: Training((s, "train.optimizer.lr=1.2e-2"), 300, 2, right=("broken",)),
        "bled": lambda s: Training((s, BARE, *NAMELESS), 800, 2, right=("bled",)),
        "overfitted": lambda s: Training(
            (s, WHOLE, *NAMELESS, "train.optimizer.lr=2e-3"), 2500, 2, 6, right=("overfitted",)
        ),
        "by-heart": lambda s: Training(
            (s, WHOLE, *NAMELESS, "train.optimizer.lr=2e-3", "train.adapter.rank=64"), 3000, 2, 4, right=("memorised",)
        ),
        "rank-1": lambda s: Training((s, "train.adapter.rank=1"), 1000, 2, right=("underfitted",)),
        "rank-64-of-four": lambda s: Training(
            (s, WHOLE, "train.adapter.rank=64"), 1000, 2, 4, right=("memorised", "overfitted")
        ),
    }.items()
}
# By these the rule is judged at the end; it was made without any of them. 24 prompts, two seeds, five steps at three
# weights.
JUDGED = {
    name: replace(training, weights=(0.6, 0.8, 1.0), colours=("red", "cyan", "orange", "white"))
    for name, training in {
        "rank-4": Training(("train.seed=31", "train.adapter.rank=4"), 900),
        "rank-64": Training(("train.seed=32", "train.adapter.rank=64"), 600),
        "alpha-twice-the-rank": Training(("train.seed=33", "train.adapter.alpha=32"), 600),
        "five-pictures": Training(("train.seed=34", WHOLE), 700, pictures=5),
        "seven-pictures-fast": Training(("train.seed=35", WHOLE, "train.optimizer.lr=2e-3"), 700, pictures=7),
        "fifteen-pictures": Training(("train.seed=36",), 800, pictures=15),
        "three-times-the-rate": Training(("train.seed=37", "train.optimizer.lr=3e-3"), 500),
        "half-the-rate": Training(("train.seed=38", "train.optimizer.lr=5e-4"), 900),
        "constant-rate": Training(("train.seed=39", "train/scheduler=constant", "train.optimizer.lr=1.5e-3"), 600),
        "restarts": Training(
            ("train.seed=40", "train/scheduler=cosine_with_restarts", "train.scheduler.cycles=2"), 800
        ),
        "one-cycle": Training(
            ("train.seed=41", "train/scheduler=one_cycle", "train.scheduler.warmup_steps=0", "train.optimizer.lr=2e-3"),
            600,
        ),
        "dora": Training(("train.seed=42", "train/adapter=dora"), 700),
        "loha": Training(("train.seed=43", "train/adapter=loha"), 800),
        "lion": Training(("train.seed=44", "train/optimizer=lion", "train.optimizer.lr=3e-4"), 700),
        "schedule-free": Training(("train.seed=45", "train/optimizer=schedule_free", "train/scheduler=constant"), 800),
        "huber": Training(("train.seed=46", "train/objective=huber"), 800),
        "noise-offset": Training(("train.seed=47", "train.objective.noise_offset=0.05"), 800),
        "trigger-alone": Training(("train.seed=48", *NAMELESS), 600),
        "batch-8": Training(("train.seed=49", "train.batch_size=8"), 500),
        "ema": Training(("train.seed=50", "train.ema.decay=0.99"), 700),
    }.items()
}
STUDY = UNSEEN | PLANTED | JUDGED


def copy_pictures(out: Path, count: int | None) -> Path:
    """A folder of datasets whose `demo_character` has `count` of the mascot's pictures, evenly spaced."""
    raw = out / "raw" / str(count or "all")
    folder = raw / CHARACTER
    if not folder.exists():
        files = sorted((DATA / CHARACTER).glob("*.png"))
        count = count or len(files)
        beside = folder.with_suffix(".part")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for picture in (files[index * len(files) // count] for index in range(count)):
            for file in picture.parent.glob(f"{picture.stem}.*"):
                shutil.copyfile(file, beside / file.name)
        beside.rename(folder)
    return raw


def run_training(name: str, training: Training, out: Path) -> Path:
    """Train and choose by the command that users start; what is done is not done again."""
    folder = out / "runs" / name
    if not (folder / "report").exists():
        command = [sys.executable, "-m", "train", *training.list_overrides()]
        command += [f"paths.raw={copy_pictures(out, training.pictures)}", f"paths.cache={out / 'cache'}"]
        command += [f"paths.runs={out / 'runs'}", f"hydra.run.dir={folder}"]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return folder


def read_truth(choice: Path, classifier: PartsClassifier) -> dict[Candidate | None, float]:
    """The share of right pictures of every candidate, and of the base (None).

    Args:
        choice: what `choose` wrote.
    """
    known = {
        f"{name_adapter(one.step)}/w{format_weight(one.weight)}": Candidate(one.step, one.weight)
        for one in read_choice(choice).candidates
    }
    groups: dict[Candidate | None, list[tuple[str, np.ndarray]]] = {}
    for line in (choice / "samples" / "metadata.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["with_trigger"]:
            file = choice / "samples" / row["file_name"]
            one = known[row["file_name"].rpartition("/")[0]] if row["weight"] else None
            groups.setdefault(one, []).append((row["prompt"], np.asarray(Image.open(file).convert("RGB"))))
    return {one: _share_right(group, classifier) for one, group in groups.items()}


def _share_right(group: Sequence[tuple[str, np.ndarray]], classifier: PartsClassifier) -> float:
    seen = classify(classifier, [picture for _, picture in group])
    right = []
    for one, (prompt, _) in zip(seen, group, strict=True):
        words = prompt.replace(",", "").split()
        pose = next((word for word in POSES if word in words), one.pose)
        colour = next((word for word in COLOUR_NAMES if word in words), one.colour)
        right.append(one.shown and one.pose == pose and one.colour == colour)
    return float(np.mean(right))


def compute_regrets(truth: Mapping[Candidate | None, float], choice: Choice, facts: RunFacts) -> dict[str, Any]:
    """What is true of the best candidate, of the recommended one and of others, and each one's regret, 0 to 1.

    Args:
        truth: see `read_truth`.
        facts: of the run, whose saved steps have validation losses.
    """
    base, some = truth[None], {one: value for one, value in truth.items() if one is not None}
    best = max(some, key=lambda one: (some[one], -one.step))
    way = some[best] - base
    losses = {one.step: one.validation_loss for one in facts.adapters if one.validation_loss is not None}
    lowest = min(losses, key=lambda step: losses[step]) if losses else None
    taken = {
        "rule": choice.recommended and Candidate(choice.recommended.step, choice.recommended.weight),
        "last step": Candidate(max(one.step for one in some), 1.0),
        "lowest loss": lowest and Candidate(lowest, 1.0),
    }
    regrets = {name: (some[best] - some[one]) / way for name, one in taken.items() if one in some and way > 0}
    regrets |= {"random": float(np.mean([(some[best] - value) / way for value in some.values()]))} if way > 0 else {}
    return {
        "best": f"{some[best]:.0%} at step {best.step}, weight {best.weight}",
        "base": base,
        "recommended": taken["rule"] and f"step {taken['rule'].step} at {taken['rule'].weight}",
        "headline": choice.headline,
        "states": {f"{one.step} at {one.weight}": one.state for one in choice.candidates},
        "regret": {name: round(value, 3) for name, value in regrets.items()},
        "truth": {f"{one.step} at {one.weight}": round(value, 3) for one, value in some.items()},
    }


def plant(folder: Path, out: Path) -> dict[str, str]:
    """What the rule says where a run's files are spoilt by hand, or drawn too strongly: case -> headline.

    The files with all changes zero are the base itself; with each layer's channels exchanged they fit another base;
    at weights of 2 and 3 they are too strong.
    """
    facts = RunFacts.read(folder / "run" / "facts.json")
    config = Config.model_validate(read_yaml(folder / "resolved.yaml"))
    captioned = make_dataset(config) / "captioned"
    said = {}
    for case in ("base itself", "another base", "too strong"):
        where = out / "planted" / folder.name / case.replace(" ", "-")
        if not (where / "choice").exists():
            shutil.rmtree(where, ignore_errors=True)
            shutil.copytree(folder / "run", where / "run")
            for one in facts.adapters if case != "too strong" else ():
                spoil(where / "run" / one.file, case)
            weights = [2.0, 3.0] if case == "too strong" else [1.0]
            settings = config.choose.model_copy(update={"weights": weights, "most_steps": 2})
            choose(where / "run", captioned, where / "choice", settings, config.evaluate, config.model)
        said[case] = read_choice(where / "choice").headline
    return said


def spoil(file: Path, case: str) -> None:
    """All changes of a saved adapter zero, or the channels of each layer exchanged."""
    tensors = load_file(file)
    generator = torch.Generator().manual_seed(0)
    for key, value in tensors.items():
        if case == "base itself":
            tensors[key] = torch.zeros_like(value)
        elif value.dim() > 1:
            axis = value.shape.index(max(value.shape[:2]))
            order = torch.randperm(value.shape[axis], generator=generator)
            tensors[key] = value.index_select(axis, order).contiguous()
    save_file(tensors, file)


def format_rows(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Rows of tables in Markdown: the regrets of unseen trainings, and whether planted ones are named rightly."""
    rows = []
    for name, found in results.items():
        if right := STUDY[name].right:
            state = found["states"][list(found["states"])[-1]]
            rows.append(f"| {name} | {' or '.join(right)} | {state} | {'right' if state in right else 'wrong'} |")
        else:
            regrets = [found["regret"].get(one) for one in ("rule", "last step", "lowest loss", "random")]
            shares = ["" if one is None else f"{one:.0%}" for one in regrets]
            cells = [found["best"], found["recommended"] or "none", *shares]
            rows.append(f"| {name} | {' | '.join(cells)} |")
        rows += [f"| {name}, {case} | | {headline} | |" for case, headline in found.get("planted", {}).items()]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="where pictures, runs and results.json go")
    parser.add_argument("names", nargs="*", choices=[[], *STUDY], default=[], help="some of the trainings")
    given = parser.parse_args()
    out, classifier = given.out.resolve(), train()
    results: dict[str, Mapping[str, Any]] = {}
    for name in given.names or STUDY:
        training = STUDY[name]
        folder = run_training(name, training, out)
        truth = read_truth(folder / "choice", classifier)
        found = compute_regrets(truth, read_choice(folder / "choice"), RunFacts.read(folder / "run" / "facts.json"))
        if training.planted:
            found["planted"] = plant(folder, out)
        results[name] = found
        write_text(out / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        print(*format_rows({name: found}), sep="\n", flush=True)


if __name__ == "__main__":
    main()
