"""Trains as its order (a JSON file) says; sends itself a signal at the end of a step, before anything is saved."""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    from lorakiln.schema.model import ModelSettings
    from lorakiln.schema.train import TrainSettings
    from lorakiln.train import train
    from lorakiln.train.watch import Watch

    order = json.loads(Path(sys.argv[1]).read_text())
    after_step = Watch.after_step

    def signalling(watch, kiln):
        if order["signal"] and kiln.done == order["at"]:
            os.kill(os.getpid(), order["signal"])
        after_step(watch, kiln)

    Watch.after_step = signalling
    train(
        Path(order["encoded"]),
        Path(order["out"]),
        TrainSettings(**order["settings"]),
        ModelSettings(**order["model"]),
        Path(order["checkpoints"]),
    )


if __name__ == "__main__":
    from lorakiln.console.errors import exit_on_user_error

    sys.exit(exit_on_user_error(main))
