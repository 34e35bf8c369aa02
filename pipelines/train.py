"""`train`: outputs/encoded -> outputs/run, the trained adapters, metrics and samples."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved, locate_checkpoint_root


def main() -> None:
    from lorakiln.train import train

    keep_lock()
    resolved = Resolved()
    settings = resolved.check(TrainSettings, "train")
    model = resolved.check(ModelSettings, "model")
    train(resolved["encoded"], resolved["run"], settings, model, locate_checkpoint_root(resolved["cache"]))


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
