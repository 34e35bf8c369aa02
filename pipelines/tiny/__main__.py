"""The whole recipe, stage by stage: `python -m pipelines.tiny`. A stage whose result exists is skipped."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable

from pipelines.tiny import card, demo_sets, hands, install, latents, measure, sprites
from pipelines.tiny.paths import MODELS, WORK, work

# Minutes on two CPU cores, for each training; fewer give a worse model, and the bars say so.
# `judge` is clip's training gone on with, once there is a base whose pictures it is to read.
MINUTES = {"vae": 16, "clip": 52, "blip": 10, "sd": 134, "judge": 90}
CHUNKS = 26
CORES = 2


def trained(part: str, scale: float) -> None:
    """Train one part, unless its file says that it is done; a run that was stopped goes on where it was."""
    from pipelines.tiny import blip, vae

    done, minutes = work(f"{part}.done"), MINUTES[part] * scale
    if done.exists():
        return
    if part in ("vae", "blip"):
        {"vae": vae, "blip": blip}[part].train(minutes)
    elif part == "judge":
        parts = [["pipelines.tiny.haze", "--parts", str(CORES), "--part", str(i)] for i in range(CORES)]
        makers = [subprocess.Popen([sys.executable, "-m", *one], env=single_threaded()) for one in parts]
        ends = [maker.wait() for maker in makers]
        if any(ends):
            sys.exit("haze: see above")
        together("clip", minutes + MINUTES["clip"] * scale)
    else:
        together({"sd": "diffusion"}.get(part, part), minutes)
    done.touch()


def together(module: str, minutes: float) -> None:
    """Train in two processes of one thread: two threads in one gain little on networks as small as these."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(CORES)]
    command += ["-m", f"pipelines.tiny.{module}", "--minutes", str(minutes)]
    subprocess.run(command, check=True, env=single_threaded())


def single_threaded() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def measured_and_installed() -> None:
    """Install into the working folder, measure that, and copy to models/tiny only if every bar is met."""
    draft = work("draft")
    size = install.install(draft)
    found = measure.measure(draft)
    measure.write(found, draft)
    card.write(draft, size)
    missed = measure.shortfalls(found)
    if missed:
        sys.exit("models/tiny is left as it was:\n  " + "\n  ".join(missed))
    install.replace(draft, MODELS)
    print(f"installed {size:.1f} MB in {MODELS}")


def stages(scale: float) -> dict[str, Callable[[], object]]:
    """Name -> what to do, in order."""
    return {
        "sprites": sprites.make_sprites,
        "hands": hands.make_hands,  # before the trainings that share them in two processes
        "vae": lambda: trained("vae", scale),
        "clip": lambda: trained("clip", scale),
        "blip": lambda: trained("blip", scale),
        "latents": lambda: latents.write(CHUNKS),
        "sd": lambda: trained("sd", scale),
        "judge": lambda: trained("judge", scale),
        "demo-sets": demo_sets.make,
        "install": measured_and_installed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every training's minutes")
    parser.add_argument("--only", choices=list(stages(1.0)), help="run one stage")
    arguments = parser.parse_args()
    print(f"working in {WORK}", flush=True)
    for name, run in stages(arguments.scale).items():
        if arguments.only in (None, name):
            print(f"== {name}", flush=True)
            run()


if __name__ == "__main__":
    main()
