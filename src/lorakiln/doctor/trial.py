"""What is tried, each with the product's own stages: data, a training, its files, and its going on."""

import csv
import re
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.pictures import read_picture
from lorakiln.chain import CHAIN, DATA, EXPORT, TRAIN, locate_folders
from lorakiln.doctor.sample_pictures import write_pictures
from lorakiln.facts.lora import LoraFacts
from lorakiln.lora_files import diffusers_form
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.prepare import BucketSettings, PrepareSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tools.draw_request import DrawRequest
from lorakiln.tools.generate import draw_requests
from lorakiln.train.encoded_dataset import EncodedDataset

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
        return TrainSettings.model_validate(
            {
                "seed": 0,
                "steps": STEPS,
                "batch_size": 2 * self.micro_batch,
                "micro_batch": self.micro_batch,
                "checkpoint_every": STOP,
                "adapter": {"kind": "lora", "rank": 16, "alpha": 16.0},
                "objective": {},
                "optimizer": {"kind": "adamw", "lr": 1e-3},
                "scheduler": {"kind": "constant"},
                "trainer": {"accelerator": "auto", "gradient_checkpointing": self.checkpointing},
                "tracker": {"kind": "none", "log_every": 1},
                "validation": {"every": STEPS, "draws": 4},
                "samples": {"every": STEPS if samples else 0, "prompts": list(PROMPTS), "seeds": [0], **DRAWING},
            }
        )


def make_data(trial: Trial) -> dict[str, Any]:
    """Pictures through `prepare`, `caption` and `encode`."""
    raw, model = trial.folder / "raw", trial.model
    write_pictures(raw, model.resolution)
    bucket = BucketSettings(min=model.bucket_min, max=model.bucket_max, step=model.bucket_step)
    prepared = PrepareSettings(dataset=NAME, resolution=model.resolution, bucket=bucket, workers=1, domain=model.domain)
    settings = {
        "prepare": prepared,
        "caption": NobodySettings(),
        "encode": EncodeSettings(),
        "model": model,
        "model.captioner": model.captioner,
    }
    for stage in DATA:
        stage.run({"raw": raw, **locate_folders(trial.folder, DATA)}, settings)
    encoded = EncodedDataset.read(trial.folder / "encoded")
    return {"buckets": {bucket.name: len(bucket.rows) for bucket in encoded.buckets}}


def train_once(trial: Trial, name: str, samples: bool) -> dict[str, Any]:
    """A training, or what is left of one; what is known of it, memory by bytes.

    Args:
        name: of the run's folder; each has checkpoints of its own.
    """
    before = _resident()
    folders = locate_folders(trial.folder, DATA) | {TRAIN.writes: trial.folder / name}
    settings = {"train": trial.settings(samples), "model": trial.model}
    TRAIN.run(folders, settings, trial.folder / f"{name}_cache" / "checkpoints")
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
    return {"resident": int(found[1]) * 1024 - before} if found else {}


def _resident() -> int:
    """Bytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure_samples(trial: Trial) -> dict[str, Any]:
    """How many pictures training drew at its end, their sizes, and the least of their spreads, levels of 0 to 255."""
    files = sorted((trial.folder / "run" / "samples" / f"step-{STEPS:08d}").glob("*.png"))
    pictures = [_levels(file) for file in files]
    sizes = sorted({f"{one.shape[1]}x{one.shape[0]}" for one in pictures})
    spreads = [float(one.std()) for one in pictures]
    return {"pictures": len(files), "sizes": sizes, "least_spread": round(min(spreads, default=0.0), 2)}


def write_files(trial: Trial) -> dict[str, Any]:
    """`export`, which reads back each file that it writes as its clients do; what it found."""
    folders = locate_folders(trial.folder, CHAIN)
    EXPORT.run(folders, {"export": ExportSettings(name=NAME), "model": trial.model})
    checked = LoraFacts.read(folders[EXPORT.writes] / "facts.json").checked
    assert checked is not None  # export has just written it
    told = checked.to_dict()
    return {key: told[key] for key in ("clients", "layers", "largest_relative_difference")}


def draw_with_file(trial: Trial) -> dict[str, float]:
    """Draw what training drew last, with the exported file in the adapter's place, and without any.

    Returns:
        mean differences, in levels of 0 to 255, of each to training's picture.
    """
    wished: dict[str, Any] = {"prompt": PROMPTS[0], "seed": 0, **DRAWING}
    requests = [DrawRequest(**wished, loras=((trial.adapter, weight),)) for weight in (1.0, 0.0)]
    drawn = {at: np.asarray(picture, np.float32) for at, picture, _ in draw_requests(requests, trial.model)}
    first = _levels(trial.folder / "run" / "samples" / f"step-{STEPS:08d}" / "00.png")
    return {name: round(float(abs(drawn[at] - first).mean()), 3) for at, name in enumerate(("with", "without"))}


def compare_runs(trial: Trial, one: str, other: str) -> dict[str, Any]:
    """Whether two runs' last adapters are the same bytes, and how far what they learned is apart, relative.

    Measured on the factors that begin at zero (`up`): what they hold in the end is learned.
    """
    files = [trial.folder / name / "adapters" / f"step-{STEPS:08d}.safetensors" for name in (one, other)]
    first, second = ({name: layer.up for name, layer in diffusers_form.load(file).layers.items()} for file in files)
    size = sum(value.square().sum().item() for value in first.values()) ** 0.5
    apart = sum((value - second[name]).square().sum().item() for name, value in first.items()) ** 0.5
    return {"same_bytes": files[0].read_bytes() == files[1].read_bytes(), "difference": apart / size}


def find_checkpoint(trial: Trial, name: str) -> int:
    """The step of a run's newest checkpoint; 0: there is none."""
    files = (trial.folder / f"{name}_cache" / "checkpoints").glob("*/step-*.safetensors")
    return max((int(file.stem.removeprefix("step-")) for file in files), default=0)


def _levels(file: Path) -> np.ndarray:
    return np.asarray(read_picture(file), np.float32)
