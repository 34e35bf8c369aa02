"""`evaluate`: outputs/lora -> outputs/report, scores, grids and report.html."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved


def main() -> None:
    from lorakiln.evaluate import evaluate

    keep_lock()
    resolved = Resolved()
    settings = resolved.check(EvaluateSettings, "evaluate")
    model = resolved.check(ModelSettings, "model")
    folders = (resolved[name] for name in ("lora", "captioned", "run", "choice", "report"))
    evaluate(*folders, settings, model)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
