"""Trains as its order (a JSON file) says; sends itself a signal at the end of a step, before anything is saved."""

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    from lorakiln.schema.model import ModelSettings
    from lorakiln.schema.train import TrainSettings
    from lorakiln.train import train
    from lorakiln.train.stop_together import StopTogether

    order = json.loads(Path(sys.argv[1]).read_text())
    sys.path.insert(0, str(Path(__file__).parents[2]))  # kinds are known by where their code is
    for module in order["add"]:
        importlib.import_module(module).add_kinds()
    heed = StopTogether.on_train_batch_end

    def signalling(callback, trainer, lora_module, *batch):
        if order["signal"] and lora_module.done == order["at"]:
            os.kill(os.getpid(), order["signal"])
        heed(callback, trainer, lora_module, *batch)

    StopTogether.on_train_batch_end = signalling
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
