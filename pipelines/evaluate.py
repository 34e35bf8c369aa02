"""`evaluate`: outputs/lora -> outputs/report, scores, grids and report.html."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.chain import EVALUATE
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved


def main() -> None:
    keep_lock()
    resolved = Resolved()
    settings = {
        "evaluate": resolved.check(EvaluateSettings, "evaluate"),
        "model": resolved.check(ModelSettings, "model"),
    }
    EVALUATE.update(resolved.folders, settings)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
