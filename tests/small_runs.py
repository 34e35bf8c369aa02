"""25 pictures with captions and reduced random bases, on which experiments for real ones run."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.families.reduced import write_reduced

SIZES = {"resolution": 64, "bucket_min": 32, "bucket_max": 128, "bucket_step": 32}


class SmallRuns:
    """Pictures, captions and bases below one folder; a base is written when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        raw = folder / "raw/mine"
        raw.mkdir(parents=True)
        draws = np.random.default_rng(0)
        for number in range(25):
            colours = draws.integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
            Image.fromarray(colours).save(raw / f"{number}.png")
            (raw / f"{number}.txt").write_text("sks cat, a red one")

    def base(self, kind: str) -> Path:
        """One of reduced.KINDS, or "sdxl_v": SDXL that predicts v."""
        folder = self.folder / kind
        if folder.is_dir():
            return folder
        if kind != "sdxl_v":
            return write_reduced(folder, kind)
        shutil.copytree(self.base("sdxl"), folder)
        schedule = folder / "scheduler/scheduler_config.json"
        schedule.write_text(json.dumps({**json.loads(schedule.read_text()), "prediction_type": "v_prediction"}))
        return folder

    def overrides(self, kind: str) -> list[str]:
        """Of an experiment for a real base, so that it trains these pictures on this one, on the CPU."""
        return [
            "prepare.dataset=mine",
            "caption.trigger=sks cat",
            f"paths.raw={self.folder}/raw",
            f"paths.cache={self.folder}/cache",
            f"model.path={self.base(kind)}",
            "model.vae=null",
            *(f"model.{name}={pixels}" for name, pixels in SIZES.items()),
            "model.captioner.path=models/tiny/blip",
            "model.clip.path=models/tiny/clip",
            "train.trainer.accelerator=cpu",
            "train.trainer.threads=1",
            "train/tracker=none",
        ]
