"""The finished run's folder."""

import platform
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import write_json
from lorakiln.console.memory import read_peak_memory
from lorakiln.facts.base_model import BaseFacts
from lorakiln.facts.run import BegunWith, EncoderFacts, RunFacts, SavedAdapter
from lorakiln.lora_files.identity import hash_lora
from lorakiln.lora_files.kohya_metadata import build_metadata
from lorakiln.tracking.tracker import RECORD
from lorakiln.train.assembly import TrainingRun
from lorakiln.train.callbacks import RunRecorder
from lorakiln.train.checkpoint import AVERAGES
from lorakiln.train.environment import describe_environment
from lorakiln.train.length import choose_kept
from lorakiln.train.record import VALIDATION, Record, write_csv

LIBRARIES = ("torch", "lightning", "diffusers", "transformers", "peft", "safetensors", "numpy")


def write_run(
    out: Path, work: Path, record: Record, facts: RunFacts, tracker: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Put the run into `out`, whole or not at all.

    Args:
        work: holds the adapters, of which those that the facts name are taken, and `samples`.
        facts: see `make_run_facts`.
        tracker: the tracker's record.
    """
    with replacing(out) as fresh:
        for name in ("adapters", "samples"):
            (fresh / name).mkdir()
        for file in (file for one in facts.adapters for file in (one.file, one.average) if file):
            (fresh / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(work / file, fresh / file)
        if (work / "samples").is_dir():
            shutil.copytree(work / "samples", fresh / "samples", dirs_exist_ok=True)
        write_csv(fresh / "metrics.csv", record.columns, record.metrics)
        write_csv(fresh / "validation.csv", VALIDATION, record.validation)
        facts.write(fresh / "facts.json")
        write_json(fresh / RECORD, tracker)
        write_json(fresh / "provenance.json", provenance)


def make_run_facts(run: TrainingRun, work: Path, record: Record, step: int | None = None) -> RunFacts:
    """What is true of the run, for the stages after it.

    Args:
        step: after which it ended; None: after its last.
    """
    settings = run.settings
    files = sorted((work / "adapters").glob("step-*.safetensors"))
    steps = {int(path.stem.removeprefix("step-")): path.name for path in files}
    step = settings.total_steps if step is None else step
    # Of words alone there is no adapter.
    first = next((one.settings for one in run.placements.values()), settings.adapter)
    kept = choose_kept(list(steps), record.losses, settings, run.epoch, step)
    return RunFacts(
        step=step,
        max_steps=settings.total_steps,
        epoch_steps=float(run.epoch),
        rank=first.rank,
        alpha=first.alpha,
        parameters=run.module.flat.count,
        targets=run.targets,
        **_describe_encoders(run),
        precision=run.precision,
        base=BaseFacts(**run.family.facts),
        dataset=run.encoded.index.dataset,
        trigger=run.encoded.trigger,
        held_out=run.split.held_out_count,
        held_out_files=sorted(
            bucket.rows[row].file_name
            for bucket, rows in zip(run.encoded.buckets, run.split.held_out, strict=True)
            for row in rows
        ),
        **({"tokens": run.module.tokens.counts} if run.module.tokens else {}),
        **run.family.process.state_facts(settings.objective),
        init_from=_begun_with(settings.adapter.init_from),
        libraries=list_libraries(),
        adapters=[
            SavedAdapter(
                step=at,
                file=f"adapters/{name}",
                validation_loss=record.validation_loss(at),
                **({"average": f"{AVERAGES}/{name}"} if run.module.average else {}),
            )
            for at, name in steps.items()
            if at in kept
        ],
        settings=run.lineage,
    )


def _describe_encoders(run: TrainingRun) -> dict[str, dict[str, EncoderFacts]]:
    """Of text encoders that are trained; nothing where there are none."""
    encoders, total = run.module.encoders, run.settings.total_steps
    facts = {
        part: EncoderFacts(
            rank=run.placements[part].settings.rank,
            modules=len(run.placements[part].modules),
            lr=run.settings.optimizer.part_lrs.get(part, encoders.rates()[part]),
            **({"stop": encoders.stop} if encoders.stop < total else {}),
        )
        for part in encoders.parts
    }
    return {"encoders": facts} if facts else {}


def check_kohya_metadata(run: TrainingRun) -> None:
    """Refuse, before the training, what the files that others read could not tell of it afterwards.

    Raises:
        UserError: see `kohya_metadata.build_metadata`.
    """
    build_metadata(make_run_facts(run, Path(), Record()), [], "lora", private=False)


def _begun_with(file: str | None) -> BegunWith | None:
    """The LoRA file that the training went on from."""
    return BegunWith(file=Path(file).name, hash=hash_lora(Path(file))) if file else None


def collect_provenance(run: TrainingRun, began: datetime, seconds: float, recorder: RunRecorder) -> dict[str, Any]:
    """Where, when and how fast: what may differ between equal runs. The speed is that of the training steps, without
    validation, samples and saving. `peak_memory` is in bytes, of the leading process, all of these included.

    Args:
        seconds: since `began`, by a clock that nobody sets: the end is told by it.
    """
    settings, steps = run.settings, recorder.steps
    speed = steps / max(recorder.training_seconds, 1e-9)
    batch = float(run.split.trained_count / run.split.count_batches(settings.batch_size))  # the mean
    return {
        "began": began.isoformat(timespec="seconds"),
        "ended": (began + timedelta(seconds=seconds)).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "steps_here": steps,
        "steps_per_second": round(speed, 3),
        "pictures_per_second": round(speed * batch, 3),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "libraries": list_libraries(),
        **describe_environment(run.module),
        "precision": run.precision,
        "peak_memory": read_peak_memory(run.module.flat.weights.device),
        "memory_counted": run.memory_fit.memory.most if run.memory_fit else None,
        "command": sys.argv,
        "git": read_git_state(),
    }


def list_libraries() -> dict[str, str]:
    """The versions of what decides a training's numbers; of which commit of this program, provenance.json says alone:
    a commit that changes no number shall change no file.
    """
    return {name: version(name) for name in LIBRARIES}


def read_git_state() -> dict[str, Any] | None:
    """The commit that is checked out, and whether tracked files differ from it; None where there is no git."""
    try:
        commit = _git("rev-parse", "HEAD").strip()
        return {
            "commit": commit,
            "changed": bool(_git("status", "--porcelain", "--untracked-files=no").strip()),
        }
    except (OSError, subprocess.SubprocessError):
        # Installed from a package, or git is not there.
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, timeout=20).stdout
