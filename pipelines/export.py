"""`export`: outputs/run -> outputs/lora, the files that other programs load."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.chain import EXPORT
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.model import ModelSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved


def main() -> None:
    keep_lock()
    resolved = Resolved()
    settings = {"export": resolved.check(ExportSettings, "export"), "model": resolved.check(ModelSettings, "model")}
    EXPORT.update(resolved.folders, settings)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
