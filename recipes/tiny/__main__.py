"""The whole recipe, stage by stage: `python -m recipes.tiny`.

A stage whose result exists is skipped; one that was stopped goes on from its last checkpoint, chunk or file, and makes
what it would have made. The trainings are bounded by steps, so that a slow machine makes the same models as a fast one.

A fresh base is tried on the demo before it is installed:
python -m train +experiment=demo_style model.path=cache/tiny/draft/sd model.clip.path=cache/tiny/draft/clip
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable

from recipes.tiny import blip, demo_sets, install, latents, measure, sprites, vae
from recipes.tiny.workspace import MODELS, WORK, is_done, locate, record_training

# Optimizer steps of each training; fewer give a worse model, and the bars say so.
# `figures` is sd's training gone on with, creatures in named poses among its pictures; `judge` is clip's, once there is
# a base whose pictures it is to read.
STEPS = {"vae": 2_400, "clip": 4_000, "blip": 1_200, "sd": 8_000, "figures": 2_000, "judge": 6_000}
CHUNKS = {"things": 26, "figures": 4}
PROCESSES = 2  # part of the recipe: a global batch is this many times what one process takes


def train_part(part: str, scale: float) -> None:
    """Train one part, unless its record says that it is done."""
    steps = {name: max(1, round(count * scale)) for name, count in STEPS.items()}
    if is_done(part, steps[part]):
        return
    if part == "vae":
        vae.train(steps["vae"])
    elif part == "blip":
        blip.train(steps["blip"])
    elif part in ("sd", "figures"):
        train_together("diffusion", "--part", part, "--steps", str(steps[part]))
    elif part == "clip":
        train_together("clip", "--steps", str(steps["clip"]))
    else:
        draw_over_scenes()
        train_together("clip", "--steps", str(steps["clip"] + steps["judge"]))
    record_training(part, steps[part], 1 if part in ("vae", "blip") else PROCESSES)


def write_latents() -> None:
    for kind, count in CHUNKS.items():
        latents.write_latents(kind, count)


def draw_over_scenes() -> None:
    """Make the pictures drawn over by the base, in two processes."""
    parts = [["recipes.tiny.img2img", "--parts", str(PROCESSES), "--part", str(i)] for i in range(PROCESSES)]
    processes = [subprocess.Popen([sys.executable, "-m", *one], env=limit_threads()) for one in parts]
    statuses = [process.wait() for process in processes]
    if any(statuses):
        sys.exit("the scenes are not all drawn over: see above, then start again, it goes on")


def train_together(module: str, *arguments: str) -> None:
    """Train in two processes of one thread: two threads in one gain little on networks as small as these."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    command += ["-m", f"recipes.tiny.{module}", *arguments]
    subprocess.run(command, check=True, env=limit_threads())


def limit_threads() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def measure_and_install() -> None:
    """Install into the working folder, measure that, and copy to models/tiny only if every bar is met."""
    draft = locate("draft")
    size = install.install(draft)
    found = measure.measure(draft)
    measure.write_metrics(found, draft)
    install.write_card(draft, size)
    install.write_provenance(draft)
    missed = measure.list_shortfalls(found)
    if missed:
        sys.exit("models/tiny is left as it was:\n  " + "\n  ".join(missed))
    install.replace(draft, MODELS)
    print(f"installed {size:.1f} MB in {MODELS}")


def list_stages(scale: float) -> dict[str, Callable[[], object]]:
    """Name -> what to do, in order."""
    return {
        "sprites": sprites.write_sprites,
        "extra-sprites": sprites.write_extra_sprites,  # before the trainings that share them in two processes
        "vae": lambda: train_part("vae", scale),
        "clip": lambda: train_part("clip", scale),
        "blip": lambda: train_part("blip", scale),
        "latents": write_latents,
        "sd": lambda: train_part("sd", scale),
        "figures": lambda: train_part("figures", scale),
        "judge": lambda: train_part("judge", scale),
        "demo-sets": demo_sets.write_sets,
        "install": measure_and_install,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every training's steps")
    parser.add_argument("--only", choices=list(list_stages(1.0)), help="run one stage")
    arguments = parser.parse_args()
    print(f"working in {WORK}", flush=True)
    for name, run in list_stages(arguments.scale).items():
        if arguments.only in (None, name):
            print(f"== {name}", flush=True)
            run()


if __name__ == "__main__":
    main()
