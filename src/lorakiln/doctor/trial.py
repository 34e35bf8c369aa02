"""What is tried, each with the product's own stages: data, a training, its files, and its going on."""

import csv
import re
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lorakiln.artefacts.records import read_json
from lorakiln.artefacts.tensors import load_tensors
from lorakiln.caption import caption
from lorakiln.doctor.pictures import write_pictures
from lorakiln.encode import encode
from lorakiln.export import export
from lorakiln.facts import LoraFacts
from lorakiln.prepare import prepare
from lorakiln.schema.caption import CaptionSettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tools.generate import draw_wishes
from lorakiln.tools.wish import Wish
from lorakiln.train import train
from lorakiln.train.latents import Encoded

STEPS, STOP = 20, 10  # of training; after STOP there is a checkpoint, and a signal comes
PROMPTS = ("a red circle, white background", "a blue square, black background")
DRAWING = {"steps": 4, "guidance": 5.0}
NAME = "doctor"


@dataclass(frozen=True)
class Trial:
    """What is tried, and where.

    Attributes:
        folder: a temporary one.
        micro_batch: pictures at once; a step takes two times as many.
    """

    folder: Path
    model: ModelSettings
    micro_batch: int = 1
    checkpointing: bool = False

    @property
    def adapter(self) -> Path:
        """The LoRA file that `write_files` makes."""
        return self.folder / "lora" / f"{NAME}.safetensors"

    def settings(self, samples: bool = True) -> TrainSettings:
        """Of the training: as the config's defaults have them, but for what makes it short."""
        return TrainSettings(
            seed=0,
            steps=STEPS,
            batch_size=2 * self.micro_batch,
            micro_batch=self.micro_batch,
            checkpoint_every=STOP,
            adapter={"rank": 16, "alpha": 16.0},
            objective={},
            optimizer={"kind": "adamw", "lr": 1e-3},
            scheduler={"kind": "constant"},
            trainer={"accelerator": "auto", "gradient_checkpointing": self.checkpointing},
            tracker={"kind": "none", "log_every": 1},
            validation={"every": STEPS, "draws": 4},
            samples={"every": STEPS if samples else 0, "prompts": list(PROMPTS), **DRAWING},
        )


def make_data(trial: Trial) -> dict[str, Any]:
    """Pictures through `prepare`, `caption` and `encode`."""
    raw, model = trial.folder / "raw", trial.model
    write_pictures(raw, model.resolution)
    bucket = {"min": model.bucket_min, "max": model.bucket_max, "step": model.bucket_step}
    prepared = PrepareSettings(dataset=NAME, resolution=model.resolution, bucket=bucket, workers=1, domain=model.domain)
    prepare(raw, trial.folder / "prepared", prepared)
    said = CaptionSettings(captioner="none")
    caption(trial.folder / "prepared", raw, trial.folder / "captioned", said, model.captioner)
    encode(trial.folder / "captioned", trial.folder / "encoded", EncodeSettings(), model)
    encoded = Encoded(trial.folder / "encoded")
    return {"buckets": {bucket.name: len(bucket.rows) for bucket in encoded.buckets}}


def train_once(trial: Trial, name: str, samples: bool) -> dict[str, Any]:
    """A training, or what is left of one; what is known of it, memory by bytes.

    Args:
        name: of the run's folder; each has checkpoints of its own.
    """
    before = _resident()
    train(
        trial.folder / "encoded",
        trial.folder / name,
        trial.settings(samples),
        trial.model,
        trial.folder / f"{name}_cache" / "checkpoints",
    )
    told = read_json(trial.folder / name / "provenance.json")
    with (trial.folder / name / "metrics.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    facts = {key: told[key] for key in ("device", "precision", "steps_per_second", "seconds")}
    # What training counted before it began, where it counts.
    return facts | {"losses": losses, "peak": _peak(before), "counted": told.get("memory_counted")}


def _peak(before: int) -> dict[str, int]:
    """The most memory that this process has held: the GPU's tensors and blocks, else what came to `before`."""
    if torch.cuda.is_available():
        return {"tensors": torch.cuda.max_memory_allocated(), "blocks": torch.cuda.max_memory_reserved()}
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return {"resident": int(found[1]) * 1024 - before}


def _resident() -> int:
    """Bytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def look_at_samples(trial: Trial) -> dict[str, Any]:
    """How many pictures training drew at its end, their sizes, and the least of their spreads, levels of 0 to 255."""
    files = sorted((trial.folder / "run" / "samples" / f"step-{STEPS:08d}").glob("*.png"))
    pictures = [_levels(file) for file in files]
    sizes = sorted({f"{one.shape[1]}x{one.shape[0]}" for one in pictures})
    spreads = [float(one.std()) for one in pictures]
    return {"pictures": len(files), "sizes": sizes, "least_spread": round(min(spreads, default=0.0), 2)}


def write_files(trial: Trial) -> dict[str, Any]:
    """`export`, which reads back each file that it writes as its clients do; what it found."""
    folder = trial.folder
    export(folder / "run", folder / "captioned", folder / "lora", ExportSettings(name=NAME), trial.model)
    checked = LoraFacts.read(folder / "lora" / "facts.json").checked
    assert checked is not None  # export has just written it
    return checked.told()


def draw_with_file(trial: Trial) -> dict[str, float]:
    """Draw what training drew last, with the exported file in the adapter's place, and without any.

    Returns:
        mean differences, in levels of 0 to 255, of each to training's picture.
    """
    wished = {"prompt": PROMPTS[0], "seed": 0, **DRAWING}
    wishes = [Wish(**wished, loras=((trial.adapter, weight),)) for weight in (1.0, 0.0)]
    drawn = {at: np.asarray(picture, np.float32) for at, picture, _ in draw_wishes(wishes, trial.model)}
    first = _levels(trial.folder / "run" / "samples" / f"step-{STEPS:08d}" / "00.png")
    return {name: round(float(abs(drawn[at] - first).mean()), 3) for at, name in enumerate(("with", "without"))}


def compare_runs(trial: Trial, one: str, other: str) -> dict[str, Any]:
    """Whether two runs' last adapters are the same bytes, and how far what they learned is apart, relative.

    Measured on the matrices that begin at zero (lora_B): what they hold in the end is learned.
    """
    files = [trial.folder / name / "adapters" / f"step-{STEPS:08d}.safetensors" for name in (one, other)]
    loaded = (load_tensors(file)[0] for file in files)
    first, second = ({name: value for name, value in one.items() if "lora_B" in name} for one in loaded)
    size = sum(value.square().sum().item() for value in first.values()) ** 0.5
    apart = sum((value - second[name]).square().sum().item() for name, value in first.items()) ** 0.5
    return {"same_bytes": files[0].read_bytes() == files[1].read_bytes(), "difference": apart / size}


def checkpoint_of(trial: Trial, name: str) -> int:
    """The step of a run's newest checkpoint; 0: there is none."""
    files = (trial.folder / f"{name}_cache" / "checkpoints").glob("*/step-*.safetensors")
    return max((int(file.stem.removeprefix("step-")) for file in files), default=0)


def _levels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)
