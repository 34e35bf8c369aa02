"""`evaluate`: outputs/lora -> outputs/report, scores, grids and report.html."""

import sys

from lorakiln.console.errors import exit_on_user_error
from lorakiln.evaluate import evaluate
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings
from pipelines.resolved import Resolved


def main() -> None:
    resolved = Resolved()
    settings = resolved.check(EvaluateSettings, "evaluate")
    model = resolved.check(ModelSettings, "model")
    evaluate(resolved["lora"], resolved["captioned"], resolved["run"], resolved["report"], settings, model)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
