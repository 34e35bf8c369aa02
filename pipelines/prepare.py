"""`prepare`: data/raw/<dataset> -> outputs/prepared, decoded pictures in buckets."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.artefacts.folder_state import FolderState
from lorakiln.chain import PREPARE
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.prepare import PrepareSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved


def main() -> None:
    keep_lock()
    resolved = Resolved()
    settings = resolved.check(PrepareSettings, "prepare")
    raw = resolved["raw"] / settings.dataset
    state = FolderState(raw)
    PREPARE.update({**resolved.folders, "raw": raw}, {"prepare": settings})
    state.check()


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
