"""`train`: outputs/encoded -> outputs/run, the trained adapters, metrics and samples."""

import sys

from lorakiln.console.ending import end_by_signals
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from pipelines.resolved import Resolved, checkpoint_root


def main() -> None:
    # Imported late: a signal that comes meanwhile is told in one line.
    from lorakiln.train import train

    resolved = Resolved()
    settings = resolved.check(TrainSettings, "train")
    model = resolved.check(ModelSettings, "model")
    train(resolved["encoded"], resolved["run"], settings, model, checkpoint_root(resolved["cache"]))


if __name__ == "__main__":
    end_by_signals()
    sys.exit(exit_on_user_error(main))
