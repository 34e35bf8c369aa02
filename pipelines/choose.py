"""`choose`: outputs/run -> outputs/choice, which saved step to use, and at which weight."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.chain import CHOOSE
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.choose import ChooseSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved


def main() -> None:
    keep_lock()
    resolved = Resolved()
    settings = {
        "choose": resolved.check(ChooseSettings, "choose"),
        "evaluate": resolved.check(EvaluateSettings, "evaluate"),
        "model": resolved.check(ModelSettings, "model"),
    }
    CHOOSE.update(resolved.folders, settings)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
