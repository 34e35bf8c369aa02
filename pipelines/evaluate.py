"""`evaluate`: outputs/lora -> outputs/report, scores, grids and report.html."""

import sys

from lorakiln.console.ending import end_by_signals
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings
from pipelines.resolved import Resolved


def main() -> None:
    # Imported late: a signal that comes meanwhile is told in one line.
    from lorakiln.evaluate import evaluate

    resolved = Resolved()
    settings = resolved.check(EvaluateSettings, "evaluate")
    model = resolved.check(ModelSettings, "model")
    evaluate(resolved["lora"], resolved["captioned"], resolved["run"], resolved["report"], settings, model)


if __name__ == "__main__":
    end_by_signals()
    sys.exit(exit_on_user_error(main))
